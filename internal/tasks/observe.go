package tasks

import (
	"context"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

const observeEvery = 2 * time.Second

// observeGate keeps the metrics that tell what the gate believes and holds.
func (w *Worker) observeGate() {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(w.draining, observeEvery)
		if err := w.look(ctx); err != nil && w.draining.Err() == nil {
			w.log.Debug("the gate's state cannot be read", "error", err)
		}
		cancel()
		select {
		case <-w.draining.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *Worker) look(ctx context.Context) error {
	blocked, away := map[gate.Reason]int{}, 0.0
	for _, t := range apiclient.TargetTypes() {
		beliefs, err := w.gate.Beliefs(ctx, string(t))
		if err != nil {
			return err
		}
		used := 0.0
		for _, b := range beliefs {
			w.metrics.quotaLimit.WithLabelValues(string(t), string(b.Scope)).Set(b.Rate)
			used = max(used, b.Used)
		}
		w.metrics.quotaUsed.WithLabelValues(string(t)).Set(used)
		block, err := w.gate.Blocked(ctx, string(t))
		if err != nil {
			return err
		}
		if block.Reason == gate.ReasonOutage {
			away = 1
		}
		blocked[block.Reason] += w.runningJobs(string(t))
	}
	w.metrics.breaker.Set(away)
	for _, reason := range gate.Reasons() {
		w.metrics.blocked.WithLabelValues(string(reason)).Set(float64(blocked[reason]))
	}
	return nil
}

// noteRunning counts the jobs that run.
func (w *Worker) noteRunning(active []ledger.Progress) {
	running := map[string]int{}
	for _, p := range active {
		if p.Job.State == ledger.StateRunning {
			running[p.Job.TargetType]++
		}
	}
	w.running.Store(&running)
}

// runningJobs is how many jobs with such targets ran when the worker last looked.
func (w *Worker) runningJobs(targetType string) int {
	if running := w.running.Load(); running != nil {
		return (*running)[targetType]
	}
	return 0
}
