package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Add appends one segment: count targets, each ended by a newline. The first one
// takes the place of what Last returns, so begin with these targets; the next
// ones follow it. Nobody sees them before Commit. The bytes are not kept.
func (d *Draft) Add(ctx context.Context, lines []byte, count int) error {
	if err := checkLines(lines, count); err != nil {
		return wrap("load", err)
	}
	if d.list.last != nil {
		if err := d.stage(ctx, d.field(), d.list.last); err != nil {
			return err
		}
	}
	d.list.add(lines, count)
	return nil
}

// field is where the newest segment is staged: one that replaces another stands
// beside it until then.
func (d *Draft) field() string {
	field := strconv.Itoa(d.list.lastNumber())
	if d.list.lastNumber() < d.count {
		field += "+"
	}
	return field
}

func (d *Draft) stage(ctx context.Context, field string, packed []byte) error {
	_, err := d.run(ctx, "load", stageScript, field, packed)
	return err
}

// Commit makes what was added part of the job, all at once, and returns how many
// targets it has now. If nothing was added, it only gives the job time for more.
func (d *Draft) Commit(ctx context.Context) (total int64, err error) {
	if len(d.list.names) == 0 {
		return d.total, d.stage(ctx, "", nil)
	}
	if int64(d.list.total) < d.total {
		return 0, fmt.Errorf("ledger: load: %d targets would become %d: what Last returned was left out", d.total, d.list.total)
	}
	replaced := ""
	if d.list.first < d.count {
		replaced = d.last
	}
	args := []any{d.next, d.list.total, d.list.first, replaced, d.list.last}
	for _, name := range d.list.names {
		args = append(args, name)
	}
	if _, err := d.run(ctx, "load", joinScript, args...); err != nil {
		return 0, err
	}
	d.version, d.total = d.next, int64(d.list.total)
	d.count, d.last = d.list.lastNumber()+1, d.list.names[len(d.list.names)-1]
	d.reset()
	return d.total, nil
}

// reset begins a new list behind what is committed.
func (d *Draft) reset() {
	d.next, d.fp, d.list = uuid.NewString(), nil, segmenter{packer: d.ledger.packer}
	if d.last != "" {
		d.list.first, d.list.total, _, _ = parseSegmentName(d.last) // take has parsed it, or Commit made it
	}
}

// Start ends the loading: the job runs, or is scheduled if its SendAt lies ahead
// by Redis's clock. From then on it is as if a Load had made it. ErrEmpty where it
// has no target. What was added has to be committed before.
func (d *Draft) Start(ctx context.Context) (State, error) {
	if len(d.list.names) > 0 {
		return "", errors.New("ledger: start: what was added is not committed")
	}
	if d.fp == nil {
		fp, err := d.fingerprint(ctx)
		if err != nil {
			return "", err
		}
		d.fp = fp
	}
	state, err := d.run(ctx, "start", launchScript, d.fp)
	return State(state), err
}

// Close drops what was added and not committed, and gives the right back, even
// if ctx has ended. Without it the right lapses after ten seconds, if the process
// has ended; nothing else is lost by an error.
func (d *Draft) Close(ctx context.Context) error {
	d.stop()
	<-d.kept
	return wrap("load", d.leave(ctx))
}

const leaveTimeout = 5 * time.Second

func (d *Draft) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	return leaveScript.Run(ctx, d.ledger.client, d.keys(), d.token).Err()
}

// run writes by a script that hold.lua stands before.
func (d *Draft) run(ctx context.Context, what string, s *redis.Script, args ...any) (value string, err error) {
	args = append([]any{d.token, d.version, rightTTL.Milliseconds()}, args...)
	reply, err := s.Run(ctx, d.ledger.client, d.keys(), args...).StringSlice()
	if err != nil {
		return "", wrap(what, err)
	}
	reply = append(reply, "") // not every verdict has a value
	if reply[0] == "done" {
		return reply[1], nil
	}
	return "", d.refusal(what, reply[0], reply[1])
}

// refusal is the error of a verdict.
func (d *Draft) refusal(what, verdict, state string) error {
	err := ErrFenced
	switch verdict {
	case "gone":
		err = ErrNotFound
	case "state":
		return &StateError{ID: d.job.ID, State: State(state), Asked: what}
	case "empty":
		err = ErrEmpty
	case "lost":
		err = ErrLost
	}
	return fmt.Errorf("ledger: %s: job %q: %w", what, d.job.ID, err)
}

func (d *Draft) keys() []string {
	k := d.ledger.keys(d.job.ID)
	return []string{k.job, k.names, k.lock, k.free}
}
