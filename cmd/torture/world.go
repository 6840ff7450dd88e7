package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/chatsim"
	"crier/internal/procs"
)

// world is everything that runs.
type world struct {
	options  *options
	programs *procs.Programs
	redis    *procs.Redis
	client   *redis.Client
	sim      *chatsim.Server
	chatURL  string
	workers  []*worker
	began    time.Time
	say      func(format string, args ...any)
	meter    *meter

	mu     sync.Mutex // guards what follows
	counts map[calamity]int
	wrong  []error // what no calamity excuses
	doubt  int     // calls whose answer the API has written and nobody may have recorded
}

// open starts Redis, the API and the workers.
func open(ctx context.Context, o *options, list plans, bin, dir string) (w *world, err error) {
	w = &world{
		options: o, programs: &procs.Programs{Bin: bin, Dir: dir}, began: time.Now(),
		counts: map[calamity]int{},
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := w.openSim(list); err != nil {
		return w, err
	}
	data := filepath.Join(dir, "redis")
	if err := os.Mkdir(data, 0o700); err != nil {
		return w, err
	}
	// No rewriting of the log: the process that does it would outlive a killed Redis.
	if w.redis, err = procs.StartRedis(ctx, w.programs, data, "--appendonly", "yes", "--appendfsync", o.Fsync,
		"--auto-aof-rewrite-percentage", "0", "--maxmemory-policy", "noeviction"); err != nil {
		return w, err
	}
	w.client = redis.NewClient(&redis.Options{Addr: w.redis.Addr, PoolSize: 1})
	w.meter = newMeter(w.sim)
	for range o.Workers {
		place := &worker{}
		if err := w.startWorker(place); err != nil {
			return w, err
		}
		w.workers = append(w.workers, place)
	}
	return w, nil
}

func (w *world) openSim(list plans) (err error) {
	config := chatsim.DefaultConfig()
	config.Seed, config.Latency, config.LatencyJitter = w.options.Seed, w.options.Latency, w.options.Latency
	config.Poison, config.Refused = list.bad()
	if config.Faults, err = chatsim.ParseFaults(w.options.Faults); err != nil {
		return err
	}
	if config.Quotas, err = chatsim.ParseQuotas(w.quota()); err != nil {
		return err
	}
	if w.sim, err = chatsim.New(config); err != nil {
		return err
	}
	w.chatURL, err = w.sim.Start("127.0.0.1:0")
	return err
}

func (w *world) quota() string { return "users=" + strconv.Itoa(w.options.Rate) + "/s" }

// enqueueCommand prepares our enqueue.
func (w *world) enqueueCommand(ctx context.Context, args ...string) *exec.Cmd {
	return w.programs.Command(ctx, 5*time.Second, []string{"REDIS_URL=" + w.redis.URL()}, "enqueue", args...)
}

// enqueue runs enqueue to its end and returns what it printed.
func (w *world) enqueue(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	out, err := w.enqueueCommand(ctx, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("enqueue %s: %w: %s", args[0], err, exit.Stderr)
	}
	return out, err
}

// exitCode is how a program ended, -1 where it did not run to its end.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// live submits jobs and lets calamities happen for the time given, then repairs
// everything and waits for all jobs to end.
func (w *world) live(ctx context.Context, l *load) error {
	whole, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	busy, end := context.WithTimeout(whole, w.options.Duration)
	defer end()
	var group sync.WaitGroup
	for n := range lanes {
		group.Go(func() {
			if err := w.suffer(busy, whole, w.options.schedule(n)); err != nil {
				cancel(err)
			}
		})
	}
	group.Go(func() { w.watch(busy) })
	tracing, enough := context.WithCancel(ctx)
	defer enough()
	go w.trace(tracing)
	group.Go(func() { w.meter.run(whole, busy) })
	loaded := l.run(busy, whole)
	if loaded != nil {
		cancel(loaded)
	}
	group.Wait()
	if whole.Err() != nil {
		return context.Cause(whole)
	}
	w.say("all is well again; %d jobs are to end", len(l.jobs))
	if err := l.settle(ctx); err != nil {
		return err
	}
	for _, place := range w.workers {
		w.endWorker(place)
	}
	return nil
}

// trace logs once a second what the API does, for whoever looks into a failure.
func (w *world) trace(ctx context.Context) {
	file, err := os.Create(filepath.Join(w.programs.Dir, "calls.log"))
	if err != nil {
		w.fault(err)
		return
	}
	defer func() { _ = file.Close() }() // what was not written explains nothing
	for procs.Pause(ctx, time.Second) == nil {
		stats := w.sim.Stats()
		_, _ = fmt.Fprintf(file, "%s %6.1fs %6d calls accepted, %3d in flight\n", // as above
			time.Now().Format(time.RFC3339Nano), time.Since(w.began).Seconds(), stats.AcceptedCalls, stats.InFlight)
	}
}

func (w *world) fault(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, err)
}

func (w *world) faults() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

// inDoubt is how many targets may have been delivered to by calls that were
// answered, and not yet recorded when a calamity came.
func (w *world) inDoubt() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubt * targetsPerCall
}

// doubtCalls counts what so many workers can have in flight, or have been
// answered a moment ago: what the API has in flight now and what it answers in
// a quarter of a second, but no more than their CONCURRENCY allows. It tells how
// many calls are in flight in all.
func (w *world) doubtCalls(workers int) (inFlight int) {
	inFlight = w.sim.Stats().InFlight
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubt += min(inFlight+w.options.Rate/4+1, workers*(w.options.Concurrency+urgentCalls))
	return inFlight
}

func (w *world) close() {
	for _, place := range w.workers {
		place.process.Kill()
	}
	if w.client != nil {
		_ = w.client.Close() // nothing of it is pending
	}
	if w.redis != nil {
		w.redis.Kill()
	}
	if w.sim != nil {
		w.sim.Close()
	}
}
