package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"

	"crier/internal/apiclient"
	"crier/internal/chatsim"
	"crier/internal/chunker"
	"crier/internal/targets"
	"crier/internal/tasks"
)

// books compares what the ledger says of each target with what the API has
// accepted for it.
type books struct {
	faults []error
}

func (b *books) err() error {
	if len(b.faults) == 0 {
		return nil
	}
	return errors.Join(append([]error{errBooks}, b.faults...)...)
}

func (b *books) wrong(format string, args ...any) {
	if len(b.faults) < 10 {
		b.faults = append(b.faults, fmt.Errorf(format, args...))
	}
}

// compare holds result rows (target -> outcome) against the API's journal.
func compare(rows map[string]string, journal iter.Seq2[chatsim.Key, int], s tasks.Status) *books {
	b := &books{}
	delivered, again := map[string]int{}, int64(0)
	for key, n := range journal {
		delivered[key.Target] = n
		again += int64(n - 1)
		if rows[key.Target] == "" {
			b.wrong("%s was sent to and is no target", key.Target)
		}
	}
	for target, outcome := range rows {
		if outcome != "sent" || delivered[target] == 0 {
			b.wrong("%s is %q and was accepted %d times", target, outcome, delivered[target])
		}
	}
	if int64(len(rows)) != s.Total || s.Sent != s.Total || s.Pending+s.Failed+s.Unknown+s.Cancelled != 0 {
		b.wrong("%d rows, %d targets, %d sent", len(rows), s.Total, s.Sent)
	}
	if again > s.Resent {
		b.wrong("%d deliveries came twice, only %d are counted as resent", again, s.Resent)
	}
	return b
}

// results reads what enqueue says of each target.
func (d *demo) results(ctx context.Context, id string) (map[string]string, error) {
	text, err := d.program(ctx, "enqueue", "results", id).Output()
	if err != nil {
		return nil, fmt.Errorf("enqueue results: %w", err)
	}
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	rows := make(map[string]string, len(lines))
	for _, line := range lines[1:] { // a header stands first
		rows[line[0]] = line[1]
	}
	return rows, nil
}

// fewestCalls is the bound for this list and message: batches as full as the
// API's limits allow.
func fewestCalls(list string) (calls int, err error) {
	reader, err := targets.Open(list, targets.Options{Kind: targets.Users})
	if err != nil {
		return 0, err
	}
	defer func() { _ = reader.Close() }() // read only
	var lines []byte
	for {
		name, _, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		lines = append(append(lines, name...), '\n')
	}
	message := apiclient.Message{TargetType: apiclient.Users, Msg: fmt.Appendf(nil, `{"type":"txt","msg":%q}`, text)}
	head, tail, err := message.Envelope(apiclient.FormUnified)
	if err != nil {
		return 0, err
	}
	limits := tasks.DefaultLimits(apiclient.FormUnified)
	cut := chunker.Limits{MaxTargets: limits.MaxTargets[apiclient.Users], MaxBytes: limits.MaxBody, Overhead: len(head) + len(tail)}
	for len(lines) > 0 {
		if _, lines, err = cut.Next(lines); err != nil {
			return 0, err
		}
		calls++
	}
	return calls, nil
}
