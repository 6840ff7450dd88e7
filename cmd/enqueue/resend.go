package main

import (
	"context"

	"crier/internal/tasks"
)

type resendCommand struct {
	Of      string  `arg:"" name:"job" help:"The id of the job whose targets are sent to again, with the same message and options, but at once and without expires_at."`
	Outcome *string `placeholder:"LIST" help:"Only targets with these outcomes: failed, unknown, cancelled (default: failed,unknown)."`
	ID      *string `help:"The new job's id, made for you when absent: the same id again is the same job."`
	answerFlags
}

// Run makes a new job for targets of an old one.
func (c *resendCommand) Run(ctx context.Context, a *app) error {
	wanted, err := outcomes(c.Outcome, tasks.Resendable())
	if err != nil {
		return err
	}
	again := tasks.Resend{Of: c.Of, Outcomes: wanted}
	if c.ID != nil {
		if again.ID = *c.ID; again.ID == "" {
			return usage("--id: must not be empty: leave it out")
		}
	}
	var end func()
	again.Progress, end = a.beginLoad()
	submitter := tasks.Submitter{Ledger: a.ledger, Queue: a.queue, Alone: a.alone}
	done, err := submitter.Resend(ctx, again)
	end()
	return c.answer(ctx, a, done, err)
}
