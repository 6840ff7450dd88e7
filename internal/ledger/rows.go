package ledger

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Row is what the ledger knows of one target.
type Row struct {
	Target    string
	Outcome   Outcome
	Reason    string // Code.Reason, "" for pending and sent
	Detail    string // the API's or the network's own words
	Attempts  int
	MessageID string
	At        time.Time // of the last change, zero where there was none
}

// Rows reads a job target by target, in the order in which they were given.
// One segment at a time is held in memory. A row is true at the moment its
// segment is read: rows of a running job may differ from counts read earlier.
func (l *Ledger) Rows(ctx context.Context, id string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if _, err := l.Job(ctx, id); err != nil {
			yield(Row{}, err)
			return
		}
		base := 0
		for number := 0; ; number++ {
			rows, err := l.segmentRows(ctx, id, number, base)
			if err != nil {
				yield(Row{}, err)
				return
			}
			if len(rows) == 0 {
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			base += len(rows)
		}
	}
}

// segmentRows reads one segment; none is there after the last.
func (l *Ledger) segmentRows(ctx context.Context, id string, number, base int) ([]Row, error) {
	k, field := l.keys(id), strconv.Itoa(number)
	packed, err := l.client.HMGet(ctx, k.names, field).Result()
	if err != nil {
		return nil, fmt.Errorf("ledger: rows: %w", err)
	}
	text, ok := packed[0].(string)
	if !ok {
		return nil, nil
	}
	lines, err := l.unpack([]byte(text))
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, 1+len(lines)/16)
	for line := range strings.Lines(string(lines)) {
		rows = append(rows, Row{Target: strings.TrimSuffix(line, "\n"), Outcome: OutcomePending})
	}
	// The log is read after the codes: what a row then says of circumstances
	// is never older than its outcome.
	codes, err := l.client.GetRange(ctx, k.out, int64(base), int64(base+len(rows)-1)).Result()
	if err != nil {
		return nil, fmt.Errorf("ledger: rows: %w", err)
	}
	for i, c := range []byte(codes) {
		rows[i].Outcome, rows[i].Reason = Code(c).Outcome(), Code(c).Reason()
	}
	log, err := l.client.HMGet(ctx, k.log, field).Result()
	if err != nil {
		return nil, fmt.Errorf("ledger: rows: %w", err)
	}
	if text, ok = log[0].(string); ok {
		err = readLog(text, func(e Entry) error { return describe(rows, e) })
	}
	return rows, err
}

func describe(rows []Row, e Entry) error {
	for n, i := range e.Index {
		if int(i) >= len(rows) {
			return fmt.Errorf("ledger: log names target %d of %d", i, len(rows))
		}
		row := &rows[i]
		row.Attempts, row.Detail, row.At = e.Attempts, e.Detail, e.At
		if n < len(e.IDs) {
			row.MessageID = e.IDs[n]
		}
	}
	return nil
}
