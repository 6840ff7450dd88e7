package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/procs"
	"crier/internal/tasks"
)

// crierRound is one delivery of the list by Crier.
type crierRound struct {
	enqueue, worker, redis usage // workers: of all together, but the memory of the largest
	commands, network      int64 // that Redis has carried out; bytes that it has got and given
	waiting                int64 // bytes that the job takes in Redis before a worker has come
	calls                  int64
	load, delivery         time.Duration // of the clock
}

func (r crierRound) cpu() time.Duration { return r.enqueue.cpu + r.worker.cpu + r.redis.cpu }

// bareRound is one delivery by the bare loop.
type bareRound struct {
	usage
	calls int64
	took  time.Duration // of the clock
}

// crier delivers the list by Crier: all of it is loaded before the worker starts.
func (b *bench) crier(ctx context.Context, quota string) (r crierRound, err error) {
	s, err := openSite(ctx, b.programs, b.aof)
	if err != nil {
		return r, err
	}
	defer s.close()
	before, err := b.warm(ctx, s)
	if err != nil {
		return r, err
	}
	const id = "bench"
	send := b.send(ctx, s, b.list, id)
	began := time.Now()
	if _, err := b.programs.run(send); err != nil {
		return r, err
	}
	r.load = time.Since(began)
	if r.enqueue, err = usageOf(send.ProcessState); err != nil {
		return r, err
	}
	loaded, err := s.settled(ctx)
	if err != nil {
		return r, err
	}
	r.waiting = loaded.memory() - before.memory()

	workers := make([]*procs.Process, b.workers)
	began = time.Now()
	for i := range workers {
		if workers[i], err = s.worker(quota); err != nil {
			return r, err
		}
		defer workers[i].Kill()
	}
	status, err := s.wait(ctx, workers, id)
	if err != nil {
		return r, err
	}
	for _, worker := range workers {
		used, err := stop(worker)
		if err != nil {
			return r, err
		}
		r.worker = r.worker.and(used)
	}
	after, err := s.info(ctx)
	if err != nil {
		return r, err
	}
	r.redis.cpu = after.cpu() - before.cpu()
	r.commands, r.network = after.commands()-before.commands(), after.network()-before.network()
	if r.redis.peak, err = peakOf(s.redis.PID()); err != nil {
		return r, err
	}
	stats, err := s.accepted(ctx, b.targets)
	if err != nil {
		return r, err
	}
	if status.Sent != int64(b.targets) || status.Total != status.Sent || status.Resent != 0 || status.FinishedAt == nil {
		return r, fmt.Errorf("the job has %d targets, %d of them sent, %d sent again; it should have sent %d",
			status.Total, status.Sent, status.Resent, b.targets)
	}
	r.calls, r.delivery = stats.Calls, status.FinishedAt.Sub(began)
	return r, nil
}

// send is the command that makes a list a job.
func (b *bench) send(ctx context.Context, s *site, list, id string) *exec.Cmd {
	return b.programs.command(ctx, []string{"REDIS_URL=" + s.redisURL}, "enqueue", "send",
		"--targets", list, "--target-type", string(targetType), "--type", "txt", "--text", messageText, "--id", id)
}

// warmUpTargets make more than one segment, so that loading them is like
// loading a long list.
const warmUpTargets = 20_000

// warm has Redis set up what it sets up once, such as the histogram of each
// command's latency at its first use (some 0.4 MB together), and empties it
// again: that is no part of what a job takes.
func (b *bench) warm(ctx context.Context, s *site) (redisInfo, error) {
	if _, err := b.programs.run(b.send(ctx, s, b.warmUp, "warm-up")); err != nil {
		return nil, err
	}
	if err := s.client.FlushDB(ctx).Err(); err != nil {
		return nil, err
	}
	b.programs.commands = append(b.programs.commands, "redis-cli -u "+s.redisURL+" flushdb")
	return s.settled(ctx)
}

// wait waits as a user would until a job has ended, or a worker has.
func (s *site) wait(ctx context.Context, workers []*procs.Process, id string) (status tasks.Status, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, worker := range workers {
		go func() {
			select {
			case <-worker.Exited:
				cancel(fmt.Errorf("a worker has ended:\n%s", procs.Tail(worker.Log)))
			case <-ctx.Done():
			}
		}()
	}
	document, err := s.programs.run(s.programs.command(ctx, []string{"REDIS_URL=" + s.redisURL}, "enqueue", "wait", id, "--json"))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return status, err
	}
	return status, json.Unmarshal(document, &status)
}

// bare delivers the list by the bare loop.
func (b *bench) bare(ctx context.Context) (r bareRound, err error) {
	s, err := openSim(b.programs)
	if err != nil {
		return r, err
	}
	defer s.close()
	loop := b.programs.command(ctx, nil, b.self, "bare", "--targets", b.list, "--chat-url", s.chatURL)
	began := time.Now()
	out, err := b.programs.run(loop)
	if err != nil {
		return r, err
	}
	r.took = time.Since(began)
	if r.usage, err = usageOf(loop.ProcessState); err != nil {
		return r, err
	}
	var result bareResult
	if err := json.Unmarshal(out, &result); err != nil {
		return r, err
	}
	if _, err := s.accepted(ctx, b.targets); err != nil {
		return r, err
	}
	if result.Success != b.targets || int64(result.Calls) != b.fewest {
		return r, fmt.Errorf("the bare loop has counted %d successes of %d targets in %d calls; %d is the fewest possible",
			result.Success, b.targets, result.Calls, b.fewest)
	}
	r.calls = int64(result.Calls)
	return r, nil
}
