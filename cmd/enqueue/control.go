package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"crier/internal/ledger"
	"crier/internal/tasks"
)

// controlFlags say which jobs a command is for.
type controlFlags struct {
	IDs  []string `arg:"" optional:"" name:"id" help:"The job's id, or several."`
	All  bool     `help:"All jobs for which there is something to do; prints their ids."`
	JSON bool     `name:"json" help:"Print the status document afterwards; of several jobs, an array."`
}

type (
	pauseCommand  struct{ controlFlags }
	resumeCommand struct{ controlFlags }
	cancelCommand struct{ controlFlags }
)

// order is what a command asks of each job.
type order struct {
	name    string
	ask     func(ctx context.Context, id string) (ledger.Change, error)
	open    func(ledger.Job) bool // what --all means
	control *tasks.Control
	settles bool // wait until what workers hold is settled
}

// settleWait is how long cancel waits for what workers hold: they let go within a
// second and the time of their calls; those that are gone count as such after the
// ledger's OwnerTTL.
const settleWait = 3500 * time.Millisecond

// Run keeps jobs from making calls until they are resumed.
func (c *pauseCommand) Run(ctx context.Context, a *app) error {
	control := &tasks.Control{Ledger: a.ledger, Queue: a.queue}
	return c.run(ctx, a, order{name: "pause", control: control, ask: control.Pause, open: func(job ledger.Job) bool {
		return job.State == ledger.StateRunning || job.State == ledger.StateScheduled
	}})
}

// Run lets paused jobs go on.
func (c *resumeCommand) Run(ctx context.Context, a *app) error {
	control := &tasks.Control{Ledger: a.ledger, Queue: a.queue}
	return c.run(ctx, a, order{name: "resume", control: control, ask: control.Resume, open: func(job ledger.Job) bool {
		return job.State == ledger.StatePaused
	}})
}

// Run ends jobs before all of their targets were sent to.
func (c *cancelCommand) Run(ctx context.Context, a *app) error {
	control := &tasks.Control{Ledger: a.ledger, Queue: a.queue}
	return c.run(ctx, a, order{name: "cancel", control: control, ask: control.Cancel, settles: true, open: func(job ledger.Job) bool {
		return job.Finished.IsZero() // also one whose cancelling was cut off
	}})
}

// changed is a job that has the state that was asked for.
type changed struct {
	id string
	ledger.Change
}

// run gives an order to each of the jobs. With several, it goes on after one for
// which that fails.
func (c *controlFlags) run(ctx context.Context, a *app, o order) error {
	if c.All == (len(c.IDs) > 0) {
		return usage("%s: give the id of a job, or --all", o.name)
	}
	ids := c.IDs
	if c.All {
		var err error
		if ids, err = a.openJobs(ctx, o.open); err != nil {
			return err
		}
		if len(ids) == 0 {
			fmt.Fprintf(a.err, "there is no job to %s\n", o.name)
		}
	}
	single := !c.All && len(ids) == 1
	var done []changed
	var failed error
	for _, id := range ids {
		change, err := o.ask(ctx, id)
		var state *ledger.StateError
		switch {
		case err == nil:
			done = append(done, changed{id, change})
			if !single && !c.JSON {
				fmt.Fprintln(a.out, id)
			}
		case single || ctx.Err() != nil:
			return err
		case c.All && (errors.As(err, &state) || errors.Is(err, ledger.ErrNotFound)):
			// it has ended since it was listed
		default:
			fmt.Fprintln(a.err, "enqueue:", err)
			failed = fmt.Errorf("not every job could be told to %s", o.name)
		}
	}
	if o.settles {
		if err := o.settle(ctx, done); err != nil {
			return err
		}
	}
	return errors.Join(c.tell(ctx, a, done, single), failed)
}

// openJobs lists the jobs that are meant by --all.
func (a *app) openJobs(ctx context.Context, open func(ledger.Job) bool) (ids []string, err error) {
	for job, err := range a.ledger.Jobs(ctx, "") {
		if err != nil {
			return nil, err
		}
		if open(job) {
			ids = append(ids, job.ID)
		}
	}
	return ids, nil
}

func (o order) settle(ctx context.Context, done []changed) error {
	ids := make([]string, len(done))
	for i, d := range done {
		ids[i] = d.id
	}
	_, err := o.control.Settle(ctx, ids, settleWait)
	return err
}

// tell says what has become of the jobs.
func (c *controlFlags) tell(ctx context.Context, a *app, done []changed, single bool) error {
	list := []tasks.Status{}
	for _, d := range done {
		s, err := tasks.ReadStatus(ctx, a.ledger, a.gate, d.id)
		if errors.Is(err, ledger.ErrNotFound) && !single {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		list = append(list, s)
		fmt.Fprintln(a.err, d.line(s))
	}
	switch {
	case !c.JSON:
		return nil
	case single:
		return printJSON(a.out, list[0])
	default:
		return printJSON(a.out, list)
	}
}

// line tells of one job.
func (d changed) line(s tasks.Status) string {
	how := "is now"
	if d.Was == d.Is {
		how = "was already"
	}
	line := fmt.Sprintf("job %s %s %s: %d targets: %d sent, %d failed, %d unknown, %d cancelled, %d pending",
		d.id, how, d.Is, s.Total, s.Sent, s.Failed, s.Unknown, s.Cancelled, s.Pending)
	switch {
	case s.Pending == 0:
		return line + reasons(s)
	case d.Is == ledger.StateCancelled:
		return line + ": workers hold these until their calls in flight have ended"
	case d.Is == ledger.StatePaused && d.Was == ledger.StateRunning:
		return line + "; calls in flight finish and count"
	default:
		return line
	}
}
