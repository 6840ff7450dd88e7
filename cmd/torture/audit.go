package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/procs"
)

// settle waits until every job has ended.
func (l *load) settle(ctx context.Context) error {
	deadline := time.Now().Add(l.world.options.Settle)
	for {
		open, err := l.running(ctx)
		if err == nil && len(open) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%d jobs have not ended %v after all was well again:%s", len(open), l.world.options.Settle, tell(open)), err)
		}
		if err := procs.Pause(ctx, bulkInterval); err != nil {
			return err
		}
	}
}

// tell says where jobs stand.
func tell(open []status) string {
	var text strings.Builder
	for _, s := range open {
		fmt.Fprintf(&text, "\n  %s is %s, blocked by %s: %d of %d pending", s.ID, s.State, s.blockedBy(), s.Pending, s.Total)
	}
	return text.String()
}

// audit compares every job's books.
func (l *load) audit(ctx context.Context) (*books, error) {
	b := newBooks(l.world.sim, l.world.options.Fsync == "everysec")
	for _, j := range l.jobs {
		out, err := l.world.enqueue(ctx, "status", j.id, "--json")
		if exitCode(err) == 1 {
			b.wrong(gone, 1, "%s: %v", j.id, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		var s status
		if err := json.Unmarshal(out, &s); err != nil {
			return nil, err
		}
		cmd := l.world.enqueueCommand(ctx, "results", j.id, "--format", "ndjson")
		if err := stream(cmd, func(rows io.Reader) error { return b.audit(j, s, readRows(rows)) }); err != nil {
			return nil, fmt.Errorf("results of job %s: %w", j.id, err)
		}
	}
	b.strangers(l.jobs, l.world.sim.Journal())
	b.bound(l.world.inDoubt())
	return b, nil
}

// stream runs a program and reads what it prints meanwhile.
func stream(cmd *exec.Cmd, read func(io.Reader) error) error {
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = read(out)
	_, _ = io.Copy(io.Discard, out) // else it might not end
	if ended := cmd.Wait(); ended != nil {
		return fmt.Errorf("%w: %s", ended, said.String())
	}
	return err
}
