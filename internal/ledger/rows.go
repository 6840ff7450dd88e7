package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
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
// ErrNotFound ends the rows where the job is gone, before or on the way.
func (l *Ledger) Rows(ctx context.Context, id string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		job, err := l.Job(ctx, id)
		if err != nil {
			yield(Row{}, err)
			return
		}
		for number, base := 0, 0; base < int(job.Total); number++ {
			rows, err := l.segmentRows(ctx, id, number, base)
			if err != nil {
				yield(Row{}, err)
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

// segmentRows reads one segment.
func (l *Ledger) segmentRows(ctx context.Context, id string, number, base int) ([]Row, error) {
	k, field := l.keys(id), strconv.Itoa(number)
	packed, err := l.client.HGet(ctx, k.names, field).Bytes()
	if errors.Is(err, redis.Nil) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: rows of job %q: %w", id, err)
	}
	lines, err := l.packer.unpack(packed)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, 1+len(lines)/16)
	for line := range strings.Lines(string(lines)) {
		rows = append(rows, Row{Target: strings.TrimSuffix(line, "\n"), Outcome: OutcomePending})
	}
	codes, log, err := l.readOutcomes(ctx, k, field, base, len(rows))
	if err != nil {
		return nil, fmt.Errorf("ledger: rows of job %q: %w", id, err)
	}
	for i, c := range []byte(codes) { // none for the last targets where they are fresh
		rows[i].Outcome, rows[i].Reason = Code(c).Outcome(), Code(c).Reason()
	}
	return rows, readLog(log, func(e Entry) error { return describe(rows, e) })
}

// readOutcomes reads the codes and the log of one segment, in this order: what
// a row says of circumstances is then never older than its outcome. Last it
// looks for the job: without one, absent codes mean nothing.
func (l *Ledger) readOutcomes(ctx context.Context, k jobKeys, field string, base, count int) (codes, log string, err error) {
	var out *redis.StringCmd
	var entries *redis.SliceCmd
	var job *redis.IntCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		out = p.GetRange(ctx, k.out, int64(base), int64(base+count-1))
		entries = p.HMGet(ctx, k.log, field)
		job = p.Exists(ctx, k.job)
		return nil
	})
	if err == nil && job.Val() == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return "", "", err
	}
	log, _ = entries.Val()[0].(string) // nil: nothing has happened yet
	return out.Val(), log, nil
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
