package tasks

import (
	"context"
	"errors"

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

// late reports what a call brought whose claim was lost before it could be recorded.
func (d *delivery) late(f *flight, err error) {
	d.log.Warn("an answer could not be recorded: the claim is lost", "segment", d.segment.Name, "target_type", d.job.TargetType,
		"targets", len(f.index), "result", f.decision.result, "error", err)
	if !errors.Is(err, ledger.ErrFenced) {
		return
	}
	for _, u := range f.decision.updates {
		if u.Code != ledger.Sent {
			continue
		}
		n, err := d.segment.Late(d.recording, u.Index, u.Attempts)
		if err != nil {
			d.log.Warn("a late answer is lost", "segment", d.segment.Name, "target_type", d.job.TargetType, "targets", len(u.Index), "error", err)
		} else if n > 0 {
			d.metrics.targets.WithLabelValues(d.job.TargetType, string(ledger.OutcomeSent)).Add(float64(n))
			d.log.Info("a late answer was recorded", "segment", d.segment.Name, "target_type", d.job.TargetType, "targets", n)
		}
	}
}
