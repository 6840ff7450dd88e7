package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// Config shapes a worker.
type Config struct {
	Namespace         string
	App               string        // "org/app": a namespace belongs to one
	Concurrency       int           // bulk calls in flight
	UrgentConcurrency int           // urgent calls in flight, beside the bulk ones
	ShutdownTimeout   time.Duration // for calls in flight to finish in
	Limits            Limits
	Policy            Policy
}

// DefaultConfig returns the documented defaults.
func DefaultConfig() Config {
	return Config{
		Namespace: "crier", Concurrency: 32, UrgentConcurrency: 8, ShutdownTimeout: 30 * time.Second,
		Limits: DefaultLimits(apiclient.FormUnified), Policy: Policy{GiveUpAfter: 24 * time.Hour},
	}
}

// Parts are what a worker works with. The caller closes them, after Run.
type Parts struct {
	Redis redis.UniversalClient
	// RedisUptime is how long the server has been up: owners that it has not
	// heard of for that long are gone. 0 = not known.
	RedisUptime time.Duration
	Ledger      *ledger.Ledger
	Gate        *gate.Gate
	Metrics     *Metrics
	Log         *slog.Logger
	// Client is closed by Run.
	Client *apiclient.Client
}

// Worker delivers jobs: it lends slots from the asynq queues, works on
// segments, and takes its turn in sweeping.
type Worker struct {
	cfg     Config
	ledger  *ledger.Ledger
	gate    *gate.Gate
	client  *apiclient.Client
	queue   *Queue
	redis   redis.UniversalClient
	uptime  time.Duration // of Redis, at the start
	bulk    *dispatcher
	urgent  *dispatcher
	crew    *crew     // makes calls
	bodies  sync.Pool // of *[]byte: bodies of calls
	policy  Policy
	metrics *Metrics
	log     *slog.Logger

	// Three ends, one after the other: draining, no new calls are made;
	// calling, calls in flight are cut off; recording, nothing more is recorded.
	draining, calling, recording context.Context
	drain, cutOff, giveUp        context.CancelFunc

	warning seldom                 // of calls that the API could not take
	failing seldom                 // of targets that have failed
	holding seldom                 // of answers for which calls are held
	blind   seldom                 // of limits that cannot be read
	lonely  seldom                 // of jobs that no replica is known to have
	inForce atomic.Pointer[Limits] // those configured, within what the fleet has learned

	learning sync.Mutex   // held while a limit is shared
	skew     atomic.Int64 // nanoseconds: see clock
	passes   map[apiclient.TargetType]*atomic.Pointer[time.Time]

	present presences // slots at work
	unheard atomic.Pointer[error]
}

// ErrForeign says that a namespace belongs to another app.
var ErrForeign = errors.New("the namespace belongs to another app")

// NewWorker returns a worker that does nothing yet.
func NewWorker(cfg Config, p Parts) *Worker {
	w := &Worker{
		cfg: cfg, ledger: p.Ledger, gate: p.Gate, redis: p.Redis, uptime: p.RedisUptime, queue: NewQueue(p.Redis, cfg.Namespace),
		policy: cfg.Policy, metrics: p.Metrics, client: p.Client, log: p.Log, present: presences{jobs: map[string]*presence{}},
		bodies: sync.Pool{New: func() any { return new([]byte) }},
		passes: map[apiclient.TargetType]*atomic.Pointer[time.Time]{},
	}
	for _, t := range apiclient.TargetTypes() {
		w.passes[t] = new(atomic.Pointer[time.Time])
	}
	w.inForce.Store(&cfg.Limits)
	return w
}

// Prepare ties the namespace to the worker's app and publishes its limits, and
// for how long it keeps records.
// ErrForeign where the namespace is tied to another app.
func (w *Worker) Prepare(ctx context.Context) error {
	bound, err := w.ledger.Bind(ctx, w.cfg.App)
	if err != nil {
		return err
	}
	if bound != w.cfg.App {
		return fmt.Errorf("tasks: namespace %q is used for %s: %w", w.cfg.Namespace, bound, ErrForeign)
	}
	return errors.Join(w.cfg.Limits.Publish(ctx, w.ledger), w.ledger.PublishRetention(ctx))
}

// Run delivers until ctx ends. Then it takes no more work, lets calls in
// flight finish within the shutdown timeout, records them, and returns.
func (w *Worker) Run(ctx context.Context) error {
	defer w.client.Close()
	w.draining, w.drain = context.WithCancel(context.WithoutCancel(ctx))
	w.calling, w.cutOff = context.WithCancel(context.WithoutCancel(ctx))
	w.recording, w.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	defer func() { w.drain(); w.cutOff(); w.giveUp() }()
	w.crew = newCrew(w.recording)
	w.bulk = newDispatcher(w.recording, w.gate, bulkName, w.cfg.Concurrency, w.cfg.Concurrency/4, w.metrics, w.log)
	w.urgent = newDispatcher(w.recording, w.gate, urgentName, w.cfg.UrgentConcurrency, 1, w.metrics, w.log)

	var agents sync.WaitGroup
	agents.Go(w.beat)
	agents.Go(w.followLimits)
	agents.Go(w.watch)
	var slots sync.WaitGroup // who lends them
	slots.Go(newSweeper(w, time.Now().Add(-w.uptime)).run)

	intake := newIntake(w)
	agents.Go(intake.revive)

	bulk := w.server(asynq.Config{
		Queues: map[string]int{w.queue.name(false): 1}, Concurrency: bulkSlots, TaskCheckInterval: 200 * time.Millisecond,
	})
	urgent := w.server(asynq.Config{
		Queues: map[string]int{w.queue.name(true): 1}, Concurrency: urgentSlots, TaskCheckInterval: 50 * time.Millisecond,
	})
	servers := []*asynq.Server{bulk, urgent, intake.server}
	for i, handle := range []asynq.HandlerFunc{w.handle, w.handle, intake.handle} {
		if err := servers[i].Start(handle); err != nil {
			return fmt.Errorf("tasks: start: %w", err)
		}
	}
	w.log.Info("working", "owner", w.ledger.Owner(), "concurrency", w.cfg.Concurrency, "urgent_concurrency", w.cfg.UrgentConcurrency)

	<-ctx.Done()
	w.log.Info("stopping: no new calls, those in flight finish", "within", w.cfg.ShutdownTimeout.String())
	w.stop(&slots, servers)
	agents.Wait()
	return nil
}

// Slots of one process: many more than calls in flight, since a slot that
// waits for its grant costs little.
const (
	bulkSlots   = 256 // so many jobs are worked on side by side
	urgentSlots = 64
)

// server completes the configuration of an asynq server.
func (w *Worker) server(cfg asynq.Config) *asynq.Server {
	// Handlers end by themselves when the worker drains; this is for one that does not.
	cfg.ShutdownTimeout = w.cfg.ShutdownTimeout
	cfg.DelayedTaskCheckInterval = time.Second
	// Nothing is archived for failing often: the archive forgets.
	cfg.IsFailure = func(error) bool { return false }
	cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return time.Second }
	cfg.Logger, cfg.LogLevel = asynqLogger{w.log}, asynq.WarnLevel
	return asynq.NewServerFromRedisClient(w.redis, cfg)
}

// recordReserve is the most of the shutdown timeout that is kept for recording
// calls that were cut off; of a short one it is an eighth.
const recordReserve = 2 * time.Second

func (w *Worker) stop(slots *sync.WaitGroup, servers []*asynq.Server) {
	w.drain()
	cut := time.AfterFunc(w.cfg.ShutdownTimeout-min(recordReserve, w.cfg.ShutdownTimeout/8), w.cutOff)
	defer cut.Stop()
	end := time.AfterFunc(w.cfg.ShutdownTimeout, w.giveUp)
	defer end.Stop()
	for _, s := range servers {
		slots.Go(s.Shutdown)
	}
	slots.Wait()
	if w.recording.Err() == nil {
		if err := w.ledger.Bury(w.recording); err != nil {
			w.log.Warn("others will find out by themselves that this worker is gone", "error", err)
		}
	}
	w.giveUp()
}

const beatEvery = time.Second

// beat keeps this worker's claims alive until nothing more can be recorded.
func (w *Worker) beat() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(w.recording, beatEvery*9/10)
		_, err := w.ledger.Beat(ctx)
		w.unheard.Store(&err)
		if err != nil && w.recording.Err() == nil {
			w.log.Warn("Redis does not hear that this worker is alive", "error", err)
		}
		cancel()
		select {
		case <-w.recording.Done():
			return
		case <-tick.C:
		}
	}
}

// Unheard returns why Redis takes no more of what this worker writes, since so
// long that others may have taken over its work; nil while it does.
func (w *Worker) Unheard() error {
	if err := w.unheard.Load(); err != nil && !w.ledger.Leased() {
		return *err
	}
	return nil
}

// seldom lets one of many through in ten seconds.
type seldom struct{ last atomic.Int64 }

func (s *seldom) due() bool {
	now, last := time.Now().UnixNano(), s.last.Load()
	return now-last > int64(10*time.Second) && s.last.CompareAndSwap(last, now)
}

// asynqLogger lets asynq speak through slog.
type asynqLogger struct{ log *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.log.Debug("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLogger) Info(args ...any)  { l.log.Info("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLogger) Warn(args ...any)  { l.log.Warn("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLogger) Error(args ...any) { l.log.Error("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLogger) Fatal(args ...any) { l.log.Error("asynq", "text", fmt.Sprint(args...)) }
