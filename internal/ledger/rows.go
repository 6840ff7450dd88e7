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
func (l *Ledger) segmentRows(ctx context.Context, id string, number, base int) (rows []Row, err error) {
	k, field := l.keys(id), strconv.Itoa(number)
	packed, err := l.client.HGet(ctx, k.names, field).Bytes()
	if err == nil {
		rows, err = l.pendingRows(packed)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("ledger: rows of job %q: %w", id, err)
	}
	s, err := l.readOutcomes(ctx, k, field, base, len(rows))
	if err == nil && s.names != "" {
		rows, err = l.pendingRows([]byte(s.names))
	}
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: rows of job %q: %w", id, err)
	}
	for i, c := range []byte(s.out) { // none for the last targets where they are fresh
		rows[i].Outcome, rows[i].Reason = Code(c).Outcome(), Code(c).Reason()
		if s.names != "" && s.log == "" {
			rows[i].Attempts, rows[i].At = 1, s.finished
		}
	}
	return rows, readLog(s.log, func(e Entry) error { return describe(rows, e) })
}

// pendingRows are the rows of packed names to which nothing has happened.
func (l *Ledger) pendingRows(packed []byte) ([]Row, error) {
	lines, err := l.packer.unpack(packed)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, 1+len(lines)/16)
	for line := range strings.Lines(string(lines)) {
		rows = append(rows, Row{Target: strings.TrimSuffix(line, "\n"), Outcome: OutcomePending})
	}
	return rows, nil
}

// stored is what became of a segment's targets, and their names where the job
// keeps all in one key: without a log if all were sent at once when it finished.
type stored struct {
	names, out, log string
	finished        time.Time
}

// readOutcomes reads codes and log of one segment at one moment. ErrNotFound
// where the job is gone: absent codes then mean nothing.
func (l *Ledger) readOutcomes(ctx context.Context, k jobKeys, field string, base, count int) (s stored, err error) {
	var out *redis.StringCmd
	var log, job *redis.SliceCmd
	_, err = l.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		out = p.GetRange(ctx, k.out, int64(base), int64(base+max(count, 1)-1))
		log = p.HMGet(ctx, k.log, field)
		job = p.HMGet(ctx, k.job, "state", "n", "o", "l", "created", "finished")
		return nil
	})
	if err == nil && job.Val()[0] == nil {
		err = ErrNotFound
	}
	if err != nil {
		return stored{}, err
	}
	if names, ok := job.Val()[1].(string); ok {
		s.names = names
		s.out, _ = job.Val()[2].(string)
		s.log, _ = job.Val()[3].(string)
		created, _ := job.Val()[4].(string)
		finished, _ := job.Val()[5].(string)
		s.finished = parseJob("", map[string]string{"created": created, "finished": finished}).Finished
		return s, nil
	}
	s.out = out.Val()
	s.log, _ = log.Val()[0].(string) // nil: nothing has happened yet
	return s, nil
}

func describe(rows []Row, e Entry) error {
	for n, i := range e.Index {
		if int(i) >= len(rows) {
			return fmt.Errorf("ledger: log names target %d of %d", i, len(rows))
		}
		row := &rows[i]
		row.Attempts, row.Detail, row.At = e.attempts(row.Attempts), e.Detail, e.At
		if n < len(e.IDs) {
			row.MessageID = e.IDs[n]
		}
	}
	return nil
}
