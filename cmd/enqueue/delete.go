package main

import (
	"context"
	"fmt"
	"time"

	"crier/internal/tasks"
)

type deleteCommand struct {
	ID string `arg:"" help:"The job's id."`
}

// letGo is how long delete waits for workers to let go of a job that has
// ended: calls that are on their way come back by then.
const letGo = 30 * time.Second

// Run removes the record of a job.
func (c *deleteCommand) Run(ctx context.Context, a *app) error {
	control := &tasks.Control{Ledger: a.ledger, Queue: a.queue}
	err := control.Delete(ctx, c.ID, letGo)
	if err == nil {
		fmt.Fprintf(a.err, "job %s: deleted\n", c.ID)
	}
	return err
}
