package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"crier/internal/ledger"
	"crier/internal/tasks"
)

type statusCommand struct {
	ID    string `arg:"" help:"The job's id."`
	JSON  bool   `name:"json" help:"Print the status document."`
	Watch bool   `help:"Go on showing it until the job has ended."`
}

// Run shows where a job stands.
func (c *statusCommand) Run(ctx context.Context, a *app) error {
	if c.Watch {
		if _, err := a.follow(ctx, c.ID); err != nil {
			return err
		}
	}
	if c.JSON {
		return a.printStatus(ctx, c.ID)
	}
	s, err := tasks.ReadStatus(ctx, a.ledger, a.gate, c.ID)
	if err != nil {
		return err
	}
	return describe(a.out, s)
}

type waitCommand struct {
	ID   string `arg:"" help:"The job's id."`
	JSON bool   `name:"json" help:"Print the status document at the end."`
}

// Run waits until the job has ended.
func (c *waitCommand) Run(ctx context.Context, a *app) error { return a.wait(ctx, c.ID, c.JSON) }

type listCommand struct {
	State *string `help:"Only jobs in this state: loading, scheduled, running, paused, finished or cancelled."`
	Limit int     `default:"50" help:"At most so many."`
	JSON  bool    `name:"json" help:"Print an array of status documents."`
}

// Run lists jobs, the newest first.
func (c *listCommand) Run(ctx context.Context, a *app) error {
	if c.State != nil && !slices.Contains(ledger.States(), ledger.State(*c.State)) {
		return usage("--state: %q is none of loading, scheduled, running, paused, finished, cancelled", *c.State)
	}
	if c.Limit < 1 {
		return usage("--limit: must be at least 1")
	}
	list := []tasks.Status{}
	for job, err := range a.ledger.Jobs(ctx, "") {
		if err != nil {
			return err
		}
		if c.State != nil && job.State != ledger.State(*c.State) {
			continue
		}
		s, err := tasks.NewStatus(ctx, a.gate, job)
		if err != nil {
			return err
		}
		if list = append(list, s); len(list) == c.Limit {
			break
		}
	}
	if c.JSON {
		return printJSON(a.out, list)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tTOTAL\tPENDING\tSENT\tFAILED\tUNKNOWN\tCANCELLED\tCREATED\tNAME")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", s.ID, stateOf(s), s.Total, s.Pending, s.Sent, s.Failed,
			s.Unknown, s.Cancelled, s.CreatedAt.Format(time.RFC3339), s.Name)
	}
	return w.Flush()
}

// wait follows a job to its end. Ctrl-C ends the waiting, not the job.
func (a *app) wait(ctx context.Context, id string, asJSON bool) error {
	s, err := a.follow(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			fmt.Fprintf(a.err, "the job goes on: enqueue status %s\n", id)
		}
		return err
	}
	if asJSON {
		err = printJSON(a.out, s)
	} else {
		fmt.Fprintln(a.err, summary(s))
	}
	if err == nil && s.Sent != s.Total {
		return errNotAllSent
	}
	return err
}

// follow shows progress until the job has ended and nothing is pending.
func (a *app) follow(ctx context.Context, id string) (tasks.Status, error) {
	bar := newJobProgress(a.err)
	defer bar.end()
	seen, away := false, false
	for wait := 20 * time.Millisecond; ; wait = min(wait*3/2, 500*time.Millisecond) {
		s, err := tasks.ReadStatus(ctx, a.ledger, a.gate, id)
		switch {
		case err != nil && (!seen || errors.Is(err, ledger.ErrNotFound) || ctx.Err() != nil):
			return s, err
		case err != nil: // the job goes on without us, and so does the waiting
			if !away {
				fmt.Fprintln(a.err, "Redis does not answer, waiting goes on:", err)
			}
			away = true
		default:
			seen, away = true, false
			bar.show(s)
			if s.State.Ended() && s.Pending == 0 {
				return s, nil
			}
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (a *app) printStatus(ctx context.Context, id string) error {
	s, err := tasks.ReadStatus(ctx, a.ledger, a.gate, id)
	if err != nil {
		return err
	}
	return printJSON(a.out, s)
}

func printJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", text)
	}
	return err
}

func stateOf(s tasks.Status) string {
	var why []string
	if s.Blocked != nil {
		why = append(why, string(*s.Blocked))
	}
	if s.Late {
		why = append(why, "late")
	}
	if len(why) == 0 {
		return string(s.State)
	}
	return fmt.Sprintf("%s (%s)", s.State, strings.Join(why, ", "))
}

// summary is the end of a job in one line.
func summary(s tasks.Status) string {
	line := fmt.Sprintf("job %s %s: %d targets: %d sent, %d failed, %d unknown, %d cancelled; %d calls",
		s.ID, s.State, s.Total, s.Sent, s.Failed, s.Unknown, s.Cancelled, s.Calls)
	if s.Throttled > 0 {
		line += fmt.Sprintf(", %d of them throttled", s.Throttled)
	}
	if s.Resent > 0 {
		line += fmt.Sprintf("; %d sent again after a lost answer", s.Resent)
	}
	return line + reasons(s)
}

func reasons(s tasks.Status) string {
	var list []string
	for reason, n := range s.Reasons {
		list = append(list, reason+": "+strconv.FormatInt(n, 10))
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return " (" + strings.Join(list, ", ") + ")"
}

// describe writes a status for people.
func describe(out io.Writer, s tasks.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	row("id", s.ID)
	if s.Name != "" {
		row("name", s.Name)
	}
	row("state", s.State)
	if s.Blocked != nil {
		row("blocked", fmt.Sprintf("%s, since %s", *s.Blocked, s.BlockedSince.Format(time.RFC3339)))
	}
	row("target type", s.TargetType)
	row("priority", s.Priority)
	if s.ResendOf != nil {
		row("resend of", *s.ResendOf)
	}
	row("total", s.Total)
	row("pending", s.Pending)
	row("sent", s.Sent)
	row("failed", s.Failed)
	row("unknown", s.Unknown)
	row("cancelled", fmt.Sprintf("%d%s", s.Cancelled, reasons(s)))
	row("resent", s.Resent)
	row("calls", fmt.Sprintf("%d, of them throttled %d", s.Calls, s.Throttled))
	for _, at := range []struct {
		name string
		time *time.Time
	}{{"created", s.CreatedAt}, {"started", s.StartedAt}, {"finished", s.FinishedAt}} {
		if at.time != nil {
			row(at.name, at.time.Format(time.RFC3339))
		}
	}
	if s.ExpiresAt != nil {
		late := ""
		if s.Late {
			late = ", before it is done at this pace"
		}
		row("expires", s.ExpiresAt.Format(time.RFC3339)+late)
	}
	row("targets a second", s.TargetsPerSecond)
	if s.ETASeconds != nil {
		row("done in about", time.Duration(*s.ETASeconds)*time.Second)
	}
	return w.Flush()
}
