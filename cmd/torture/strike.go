package main

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"crier/internal/chatsim"
	"crier/internal/procs"
)

// suffer lets the events of a lane happen, one after the other, until busy
// ends. What one has broken is repaired also then.
func (w *world) suffer(busy, whole context.Context, events []event) error {
	for len(events) > 0 && procs.Pause(busy, time.Until(w.began.Add(events[0].at))) == nil {
		e := events[0]
		events = events[1:]
		w.mu.Lock()
		w.counts[e.kind]++
		w.mu.Unlock()
		if err := w.strike(whole, e); err != nil {
			return fmt.Errorf("%s: %w", e.kind, err)
		}
	}
	return nil
}

// strike does what the event says, and returns when it is repaired. An error
// says that the test itself cannot go on.
func (w *world) strike(ctx context.Context, e event) error {
	switch e.kind {
	case killWorker:
		return w.killWorkers(ctx, e, w.workers[e.worker:e.worker+1])
	case killAll:
		return w.killWorkers(ctx, e, w.workers)
	case stopWorker:
		return w.stopWorker(ctx, e)
	case rolling:
		return w.roll()
	case killRedis:
		return w.killRedis(ctx, e)
	case fullRedis:
		return w.fillRedis(ctx, e)
	case loseTokens:
		return w.loseTokens(ctx)
	case outage:
		return w.outage(ctx, e)
	}
	return nil
}

func (w *world) killWorkers(ctx context.Context, e event, places []*worker) error {
	for _, place := range places {
		place.mu.Lock()
		defer place.mu.Unlock()
	}
	inFlight := w.doubtCalls(len(places))
	for _, place := range places { // all at once, before any end is waited for
		_ = place.process.Cmd.Process.Kill() // an error says that it has ended
	}
	for _, place := range places {
		place.process.Kill()
	}
	all := len(places) == len(w.workers)
	if all {
		w.meter.broken()
	}
	w.say("kill -9 of %s, %d calls in flight in all; again after %v", which(e, places, w), inFlight, e.lasts.Round(time.Millisecond))
	err := procs.Pause(ctx, e.lasts)
	for _, place := range places {
		if err == nil {
			err = w.startWorker(place)
		}
	}
	if all {
		w.meter.repaired(e.kind)
	}
	return err
}

func which(e event, places []*worker, w *world) string {
	if len(places) == len(w.workers) {
		return "all workers"
	}
	return "worker " + strconv.Itoa(e.worker+1)
}

func (w *world) stopWorker(ctx context.Context, e event) error {
	place := w.workers[e.worker]
	place.mu.Lock()
	defer place.mu.Unlock()
	inFlight := w.doubtCalls(1)
	if err := place.process.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	w.say("SIGSTOP of worker %d, %d calls in flight in all, for %v", e.worker+1, inFlight, e.lasts.Round(time.Millisecond))
	paused := procs.Pause(ctx, e.lasts)
	if err := place.process.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	return paused
}

func (w *world) roll() error {
	w.say("SIGTERM and a new start, one worker after the other")
	for _, place := range w.workers {
		place.mu.Lock()
		w.doubtCalls(1)
		w.endWorker(place)
		err := w.startWorker(place)
		place.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) killRedis(ctx context.Context, e event) error {
	inFlight := w.doubtCalls(len(w.workers))
	w.redis.Kill()
	w.meter.broken()
	w.say("kill -9 of Redis, %d calls in flight; again after %v", inFlight, e.lasts.Round(time.Millisecond))
	if err := procs.Pause(ctx, e.lasts); err != nil {
		return err
	}
	err := w.redis.Restart(ctx)
	w.meter.repaired(e.kind)
	return err
}

// fillRedis leaves Redis no memory: every command that could take more fails.
func (w *world) fillRedis(ctx context.Context, e event) error {
	w.doubtCalls(len(w.workers))
	if err := w.client.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		return err
	}
	w.meter.broken()
	w.say("Redis is full for %v", e.lasts.Round(time.Millisecond))
	paused := procs.Pause(ctx, e.lasts)
	err := w.client.ConfigSet(context.WithoutCancel(ctx), "maxmemory", "0").Err()
	w.meter.repaired(e.kind)
	if err != nil {
		return err
	}
	return paused
}

// loseTokens deletes what asynq knows of slot tokens, those in work included.
func (w *world) loseTokens(ctx context.Context) error {
	deleted := 0
	for _, queue := range []string{"crier-bulk", "crier-urgent"} {
		keys, err := w.client.Keys(ctx, "asynq:{"+queue+"}:*").Result()
		if err == nil && len(keys) > 0 {
			err = w.client.Del(ctx, keys...).Err()
		}
		if err != nil {
			return err
		}
		deleted += len(keys)
	}
	w.say("%d keys of asynq's queues are deleted", deleted)
	return nil
}

func (w *world) outage(ctx context.Context, e event) error {
	w.doubtCalls(len(w.workers))
	w.meter.broken()
	defer func() { w.meter.repaired(e.kind) }()
	if e.style == 0 {
		w.say("the API answers 503 for %v", e.lasts.Round(time.Millisecond))
		w.sim.SetOutage(chatsim.OutageUnavailable)
		defer w.sim.SetOutage(chatsim.OutageNone)
		return procs.Pause(ctx, e.lasts)
	}
	w.say("the API drops all connections and refuses new ones for %v", e.lasts.Round(time.Millisecond))
	w.sim.StopListening()
	paused := procs.Pause(ctx, e.lasts)
	if err := w.sim.ResumeListening(); err != nil {
		return err
	}
	return paused
}
