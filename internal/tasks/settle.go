package tasks

import (
	"context"

	"crier/internal/ledger"
)

// settle ends what is left of a job that was cancelled or has expired, where
// nobody holds it, and tells metrics and log. Of other jobs it changes nothing.
// It reports whether nothing is pending any more.
func (w *Worker) settle(ctx context.Context, job ledger.Job) (over bool, err error) {
	done, err := w.ledger.Settle(ctx, job.ID)
	for outcome, n := range map[ledger.Outcome]int64{ledger.OutcomeCancelled: done.Cancelled, ledger.OutcomeUnknown: done.Unknown} {
		w.metrics.targets.WithLabelValues(job.TargetType, string(outcome)).Add(float64(n))
	}
	if done.Ended {
		w.end(ctx, job.ID, done.State)
	}
	return done.Over, err
}
