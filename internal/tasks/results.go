package tasks

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"crier/internal/ledger"
)

// ResultFormat is how results are written.
type ResultFormat string

// The formats.
const (
	ResultsCSV    ResultFormat = "csv"    // with a header
	ResultsNDJSON ResultFormat = "ndjson" // a JSON object a line
)

// ResultRow is one line of results: what became of one target.
type ResultRow struct {
	Target    string         `json:"target"`
	Outcome   ledger.Outcome `json:"outcome"`
	Reason    string         `json:"reason"` // "" for pending and sent
	Detail    string         `json:"detail"` // the API's or the network's own words
	Attempts  int            `json:"attempts"`
	MessageID string         `json:"message_id"`
	At        string         `json:"at"` // RFC 3339, "" where nothing has happened
}

// ParseOutcomes reads a list such as "failed,unknown", each word one of those
// allowed. "" is nil, which stands for all.
func ParseOutcomes(list string, allowed []ledger.Outcome) (wanted []ledger.Outcome, err error) {
	if list == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(list, ",") {
		outcome := ledger.Outcome(strings.TrimSpace(word))
		if !slices.Contains(allowed, outcome) {
			return nil, fmt.Errorf("%q is none of %q", word, allowed)
		}
		wanted = append(wanted, outcome)
	}
	return wanted, nil
}

// WriteResults writes a row for each target of a job that has one of the
// outcomes, nil = all, as a stream. Errors are those of Ledger.Rows and of out;
// where there is no such job, nothing was written.
func WriteResults(ctx context.Context, book *ledger.Ledger, id string, wanted []ledger.Outcome, format ResultFormat, out io.Writer) error {
	buffered := bufio.NewWriterSize(out, 1<<16)
	write, flush := writeNDJSON(buffered)
	if format == ResultsCSV {
		write, flush = writeCSV(buffered)
	}
	for row, err := range book.Rows(ctx, id) {
		if err != nil {
			return err
		}
		if wanted != nil && !slices.Contains(wanted, row.Outcome) {
			continue
		}
		line := ResultRow{
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
	if err := flush(); err != nil {
		return err
	}
	return buffered.Flush()
}

func writeNDJSON(out io.Writer) (write func(ResultRow) error, flush func() error) {
	write = func(r ResultRow) error {
		line, err := json.Marshal(r)
		if err == nil {
			_, err = out.Write(append(line, '\n'))
		}
		return err
	}
	return write, func() error { return nil }
}

// writeCSV writes rows behind a header, which stands there even if no row follows.
func writeCSV(out io.Writer) (write func(ResultRow) error, flush func() error) {
	w := csv.NewWriter(out)
	header := w.Write([]string{"target", "outcome", "reason", "detail", "attempts", "message_id", "at"})
	write = func(r ResultRow) error {
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
