package tasks

import (
	"context"

	"crier/internal/ledger"
)

// settle ends what is left of a job that was cancelled or has expired, where
// nobody holds it, and tells of it if the job has ended, be it by a call that was
// in flight. Of other jobs it changes nothing. It reports whether nothing is
// pending any more.
func (w *Worker) settle(ctx context.Context, job ledger.Job) (over bool, err error) {
	done, err := w.ledger.Settle(ctx, job.ID)
	if err == nil && done.Over {
		w.end(ctx, job.ID)
	}
	return done.Over, err
}
