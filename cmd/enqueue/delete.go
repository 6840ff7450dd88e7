package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"crier/internal/ledger"
)

type deleteCommand struct {
	ID string `arg:"" help:"The job's id."`
}

// letGo is how long delete waits for workers to let go of a job that has
// ended: calls that are on their way come back by then.
const letGo = 30 * time.Second

// settleSoon is how long it waits for what is left of a cancelled job: longer
// only where no worker is there to end it.
const settleSoon = 3 * time.Second

// Run removes the record of a job. Where workers are still at the last calls
// of a job that has ended, it waits for them.
func (c *deleteCommand) Run(ctx context.Context, a *app) error {
	began, enough := time.Now(), time.After(letGo)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := a.ledger.Delete(ctx, c.ID)
		soon := errors.Is(err, ledger.ErrUnsettled) && time.Since(began) < settleSoon
		if !soon && !errors.Is(err, ledger.ErrHeld) {
			if err == nil {
				fmt.Fprintf(a.err, "job %s: deleted\n", c.ID)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-enough:
			return err
		case <-time.After(wait):
		}
	}
}
