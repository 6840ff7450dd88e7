package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/ledger"
)

type resultsCommand struct {
	ID      string  `arg:"" help:"The job's id."`
	Outcome *string `placeholder:"LIST" help:"Only targets with these outcomes: pending, sent, failed, unknown, cancelled."`
	Format  string  `default:"csv" help:"csv or ndjson."`
}

// resultRow is one line of results.
type resultRow struct {
	Target    string         `json:"target"`
	Outcome   ledger.Outcome `json:"outcome"`
	Reason    string         `json:"reason"`
	Detail    string         `json:"detail"`
	Attempts  int            `json:"attempts"`
	MessageID string         `json:"message_id"`
	At        string         `json:"at"` // RFC 3339, "" where nothing has happened
}

// Run lists what became of each target.
func (c *resultsCommand) Run(ctx context.Context, a *app) error {
	wanted, err := outcomes(c.Outcome, ledger.Outcomes())
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(a.out, 1<<16)
	var write func(resultRow) error
	flush := out.Flush
	switch c.Format {
	case "csv":
		write, flush = writeCSV(out)
	case "ndjson":
		write = func(r resultRow) error {
			line, err := json.Marshal(r)
			if err == nil {
				_, err = out.Write(append(line, '\n'))
			}
			return err
		}
	default:
		return usage("--format: %q is neither csv nor ndjson", c.Format)
	}
	for row, err := range a.ledger.Rows(ctx, c.ID) {
		if err != nil {
			return err
		}
		if wanted != nil && !slices.Contains(wanted, row.Outcome) {
			continue
		}
		line := resultRow{
			Target: row.Target, Outcome: row.Outcome, Reason: row.Reason, Detail: row.Detail,
			Attempts: row.Attempts, MessageID: row.MessageID,
		}
		if !row.At.IsZero() {
			line.At = row.At.Format(time.RFC3339Nano)
		}
		if err := write(line); err != nil {
			return err
		}
	}
	return flush()
}

// outcomes reads what --outcome lists, each one of those allowed; nil where the
// flag is not given.
func outcomes(list *string, allowed []ledger.Outcome) (wanted []ledger.Outcome, err error) {
	if list == nil {
		return nil, nil
	}
	for word := range strings.SplitSeq(*list, ",") {
		outcome := ledger.Outcome(strings.TrimSpace(word))
		if !slices.Contains(allowed, outcome) {
			return nil, usage("--outcome: %q is none of %q", word, allowed)
		}
		wanted = append(wanted, outcome)
	}
	return wanted, nil
}

// writeCSV writes rows behind a header, which stands there even if no row follows.
func writeCSV(out io.Writer) (write func(resultRow) error, flush func() error) {
	w := csv.NewWriter(out)
	header := w.Write([]string{"target", "outcome", "reason", "detail", "attempts", "message_id", "at"})
	write = func(r resultRow) error {
		return w.Write([]string{r.Target, string(r.Outcome), r.Reason, r.Detail, strconv.Itoa(r.Attempts), r.MessageID, r.At})
	}
	return write, func() error {
		w.Flush()
		if header != nil {
			return header
		}
		return w.Error()
	}
}
