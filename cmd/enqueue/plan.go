package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"crier/internal/tasks"
)

type planCommand struct {
	jobFlags
	Wait bool `hidden:"" help:"Means nothing here: a send may be planned as it stands."`
	JSON bool `name:"json" help:"Print the plan as JSON."`
}

// Run tells what sending would take.
func (c *planCommand) Run(ctx context.Context, a *app) error {
	var plan tasks.Plan
	err := c.read(ctx, a, func(sub tasks.Submission, file *attached) (err error) {
		if file != nil {
			fmt.Fprintf(a.err, "%s is not uploaded: a URL and a secret of the usual length stand in for its own\n", file.path)
		}
		planner := tasks.Submitter{Ledger: a.ledger, Queue: a.queue, Gate: a.gate}
		plan, err = planner.Plan(ctx, sub)
		return err
	})
	if err != nil {
		return err
	}
	a.tellSkipped(plan.Skipped, plan.SkippedExclude)
	if c.JSON {
		return printJSON(a.out, plan)
	}
	return describePlan(a.out, plan)
}

// describePlan writes a plan for people.
func describePlan(out io.Writer, p tasks.Plan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", values...) }
	row("targets", "%d %s", p.Targets, p.TargetType)
	row("duplicates", "%d", p.Duplicates)
	row("excluded", "%d", p.Excluded)
	row("invalid", "%d", p.Invalid)
	if p.InvalidExclude > 0 {
		row("invalid to exclude", "%d", p.InvalidExclude)
	}
	row("calls", "%d", p.Calls)
	row("bytes", "%d, at most %d in a call", p.Bytes, p.LargestBody)
	source := "published by a worker"
	if p.LimitsFrom == tasks.LimitsByDefault {
		source = "the defaults: no worker has published any"
	}
	row("limits", "%d bytes and %d targets a call, %s", p.MaxBody, p.MaxTargets, source)
	row("time", "%s", timeOf(p))
	return w.Flush()
}

// timeOf says how long sending takes, and why.
func timeOf(p tasks.Plan) string {
	var text string
	switch {
	case p.Seconds != nil:
		text = "at once"
		if *p.Seconds > 0 {
			text = "about " + seconds(*p.Seconds)
		}
		if text += " at the quota "; p.Learned != nil {
			text += *p.Learned + ", as learned"
		} else {
			text += *p.Quota
		}
	case p.Quota != nil:
		text = "not known: the quota is " + *p.Quota
	default:
		text = "not known: no worker has published a quota"
	}
	if p.Seconds == nil && p.MinSeconds > 0 {
		text += ", but at least " + seconds(p.MinSeconds)
	}
	if p.BoundBy != nil {
		text += ", bound by " + *p.BoundBy
	}
	return text
}

func seconds(s float64) string {
	exact := time.Duration(s * float64(time.Second))
	if exact < 10*time.Second {
		return exact.Round(100 * time.Millisecond).String()
	}
	return exact.Round(time.Second).String()
}
