package tasks

import (
	"context"
	"errors"
	"time"

	"crier/internal/ledger"
)

// Control pauses, resumes and cancels jobs, whether workers are there or not. It
// is safe for concurrent use.
//
// Errors of its methods that callers tell apart are ledger.ErrNotFound and
// *ledger.StateError: then nothing has changed. Every other error may have come
// after the change; the same call again settles it.
type Control struct {
	Ledger *ledger.Ledger
	Queue  *Queue
}

// Pause keeps a running or scheduled job from making calls until it is resumed:
// workers begin none from now on, those in flight finish and are recorded.
func (c *Control) Pause(ctx context.Context, id string) (ledger.Change, error) {
	return c.Ledger.Pause(ctx, id)
}

// Resume lets a paused job go on at once, or at its send_at if that lies ahead.
func (c *Control) Resume(ctx context.Context, id string) (ledger.Change, error) {
	change, err := c.Ledger.Resume(ctx, id)
	if err != nil || change.Was == change.Is || change.Is != ledger.StateRunning {
		return change, err
	}
	// As in Submit: should this fail, a sweeper does it.
	job, err := c.Ledger.Job(ctx, id)
	if err == nil {
		err = c.Queue.PutTokens(ctx, id, job.Urgent, maxTokens)
	}
	if err == nil {
		_ = c.Ledger.NoteTokens(ctx, id, time.Now())
	}
	return change, nil
}

// Cancel ends a job: workers begin no call from now on, and what nobody works on
// is cancelled when it returns. What workers still hold follows when their calls in
// flight are recorded: see Settle. Cancelling a cancelled job finishes what was
// cut off.
func (c *Control) Cancel(ctx context.Context, id string) (ledger.Change, error) {
	change, err := c.Ledger.Cancel(ctx, id)
	if err == nil {
		_, err = c.Ledger.Settle(ctx, id)
	}
	return change, err
}

// Settle waits until nothing of some cancelled jobs is pending, or for so long:
// segments of living workers come back within a second and the time of a call,
// those of workers that are gone are taken from them after the ledger's OwnerTTL.
// Jobs of which something is pending even then are returned as unsettled.
func (c *Control) Settle(ctx context.Context, ids []string, within time.Duration) (unsettled []string, err error) {
	const every = 100 * time.Millisecond
	began := time.Now()
	for unsettled = ids; ; {
		alive, err := c.Ledger.Alive(ctx)
		if err != nil {
			return unsettled, err
		}
		// Redis may have been away before: whoever is alive has been heard by then.
		free := time.Since(began) > c.Ledger.OwnerTTL()
		var kept []string
		for _, id := range unsettled {
			over, err := c.settle(ctx, id, free, alive)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return unsettled, err
			}
			if err == nil && !over {
				kept = append(kept, id)
			}
		}
		if unsettled = kept; len(unsettled) == 0 || time.Since(began) > within {
			return unsettled, nil
		}
		select {
		case <-ctx.Done():
			return unsettled, ctx.Err()
		case <-time.After(every):
		}
	}
}

// settle ends what is free of a job. If asked to, it first takes segments from
// owners that are not alive.
func (c *Control) settle(ctx context.Context, id string, free bool, alive []string) (over bool, err error) {
	if free {
		p, err := c.Ledger.Progress(ctx, id)
		if err != nil {
			return false, err
		}
		for segment, claim := range p.Abandoned(alive) {
			if _, err := c.Ledger.Free(ctx, id, segment, claim); err != nil {
				return false, err
			}
		}
	}
	done, err := c.Ledger.Settle(ctx, id)
	return done.Over, err
}

// deleteSoon is how long Delete waits for what is left of a cancelled job: longer
// only where no worker is there to end it.
const deleteSoon = 3 * time.Second

// Delete removes the record of a job. Where workers are still at the last calls of
// one that has ended, it waits for them, or for so long. Its errors are those of
// Ledger.Delete.
func (c *Control) Delete(ctx context.Context, id string, within time.Duration) error {
	began := time.Now()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := c.Ledger.Delete(ctx, id)
		var patience time.Duration
		switch {
		case errors.Is(err, ledger.ErrUnsettled):
			patience = min(within, deleteSoon)
		case errors.Is(err, ledger.ErrHeld):
			patience = within
		}
		if time.Since(began) >= patience {
			return err
		}
		pause(ctx, wait)
		if ctx.Err() != nil {
			return err
		}
	}
}
