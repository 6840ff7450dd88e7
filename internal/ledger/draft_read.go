package ledger

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// storedAtOnce is how many segments are read in one round trip: about half a
// megabyte.
const storedAtOnce = 16

// Stored reads the lines of each committed segment, in order. They are lent.
func (d *Draft) Stored(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for from := 0; from < d.count; from += storedAtOnce {
			segments, err := d.read(ctx, from, min(from+storedAtOnce, d.count))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, packed := range segments {
				lines, err := d.ledger.packer.unpack([]byte(packed))
				if err != nil {
					yield(nil, fmt.Errorf("ledger: job %q: %w: %w", d.job.ID, ErrDamaged, err))
					return
				}
				if !yield(lines, nil) {
					return
				}
			}
		}
	}
}

// Last reads the newest committed segment, which Commit replaces if anything was
// added: so many small requests make full segments. Without one it is nothing.
func (d *Draft) Last(ctx context.Context) (lines []byte, count int, err error) {
	if d.last == "" {
		return nil, 0, nil
	}
	segments, err := d.read(ctx, d.count-1, d.count)
	if err != nil {
		return nil, 0, err
	}
	if _, _, count, err = parseSegmentName(d.last); err == nil {
		lines, err = d.ledger.packer.unpack([]byte(segments[0]))
	}
	if err == nil {
		err = checkLines(lines, count)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("ledger: job %q: %w: %w", d.job.ID, ErrDamaged, err)
	}
	return lines, count, nil
}

// read reads committed segments, packed, of the content that the draft knows:
// where that is there no more, it fails as writing does.
func (d *Draft) read(ctx context.Context, from, to int) ([]string, error) {
	fields := make([]string, 0, to-from)
	for number := from; number < to; number++ {
		fields = append(fields, strconv.Itoa(number))
	}
	k := d.ledger.keys(d.job.ID)
	var job, names *redis.SliceCmd
	_, err := d.ledger.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		names = p.HMGet(ctx, k.names, fields...)
		job = p.HMGet(ctx, k.job, "state", "v") // behind: a version does not come back, so it was this one before, too
		return nil
	})
	if err != nil {
		return nil, wrap("load", err)
	}
	switch state, there := job.Val()[0].(string); {
	case !there:
		return nil, d.refusal("load", "gone", "")
	case State(state) != StateLoading:
		return nil, d.refusal("load", "state", state)
	case job.Val()[1] != d.version:
		return nil, d.refusal("load", "fenced", "")
	}
	segments := make([]string, len(fields))
	for i, value := range names.Val() {
		packed, there := value.(string)
		if !there {
			return nil, fmt.Errorf("ledger: load: segment %s of job %q: %w", fields[i], d.job.ID, ErrDamaged)
		}
		segments[i] = packed
	}
	return segments, nil
}

// fingerprint is that of a Load of the same targets. It reads them all: two seconds
// for ten million.
func (d *Draft) fingerprint(ctx context.Context) ([]byte, error) {
	doc, err := d.Document(ctx)
	if err != nil {
		return nil, err
	}
	h, n := fingerprint(doc), int64(0)
	for lines, err := range d.Stored(ctx) {
		if err != nil {
			return nil, err
		}
		h.Write(lines)
		n += int64(bytes.Count(lines, newline))
	}
	if n != d.total {
		return nil, fmt.Errorf("ledger: job %q holds %d targets, not %d: %w", d.job.ID, n, d.total, ErrDamaged)
	}
	return h.Sum(nil)[:fingerprintBytes], nil
}
