package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Load writes the targets of a new job, segment by segment, where nobody sees
// them until Seal. A load that is never sealed disappears by itself.
// It is not safe for concurrent use.
type Load struct {
	ledger *Ledger
	spec   Spec
	id     string // unique to this attempt
	hash   hash.Hash
	list   segmenter // whose last segment goes along with the seal, or is staged by the next Add
}

// stagedTTL is how long a segment of an unsealed load waits for the next.
const stagedTTL = time.Hour

// NewLoad begins a load. It writes nothing.
func (l *Ledger) NewLoad(spec Spec) *Load {
	return &Load{ledger: l, spec: spec, id: uuid.NewString(), hash: fingerprint(spec.Document), list: segmenter{packer: l.packer}}
}

// fingerprint begins that of a job's content: its targets follow.
func fingerprint(document []byte) hash.Hash {
	h := sha256.New()
	doc := sha256.Sum256(document) // fixed length: documents and targets cannot run into each other
	h.Write(doc[:])
	return h
}

// fingerprintBytes is how much of a hash is kept.
const fingerprintBytes = 16

// Add appends one segment: count targets, each ended by a newline. Segments
// should be whole batches, since a batch never reaches over two segments.
// The bytes are not kept.
func (ld *Load) Add(ctx context.Context, lines []byte, count int) error {
	if err := checkLines(lines, count); err != nil {
		return wrap("load", err)
	}
	if err := ld.stage(ctx); err != nil {
		return err
	}
	ld.hash.Write(lines)
	ld.list.add(lines, count)
	return nil
}

// stage writes the newest segment to this load's own key.
func (ld *Load) stage(ctx context.Context) error {
	if ld.list.last == nil {
		return nil
	}
	key := ld.ledger.stagedKey(ld.spec.ID, ld.id)
	_, err := ld.ledger.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, strconv.Itoa(ld.list.lastNumber()), ld.list.last)
		p.Expire(ctx, key, stagedTTL)
		return nil
	})
	if err != nil {
		return fmt.Errorf("ledger: load: %w", err)
	}
	ld.list.last = nil
	return nil
}

// Total is the number of targets added so far.
func (ld *Load) Total() int { return ld.list.total }

// Seal makes the job visible and ready to be worked on. A job of the same id
// and content is left as it is, with created false; other content under the id
// is ErrConflict, and nothing changes.
func (ld *Load) Seal(ctx context.Context) (created bool, err error) {
	if ld.list.total == 0 {
		return false, errors.New("ledger: seal: a job without targets would never finish")
	}
	l, k := ld.ledger, ld.ledger.keys(ld.spec.ID)
	keys := []string{k.job, k.doc, k.names, k.free, l.stagedKey(ld.spec.ID, ld.id)}
	return l.create(ctx, "seal", ld.spec.ID, func() *redis.Cmd {
		return sealScript.Run(ctx, l.client, keys, ld.sealArgs()...)
	})
}

// create runs a script that makes a job, between what the indexes need.
func (l *Ledger) create(ctx context.Context, what, id string, run func() *redis.Cmd) (created bool, err error) {
	known, err := l.announce(ctx, id)
	if err != nil {
		return false, wrap(what, err)
	}
	verdict, err := run().Text()
	if err != nil {
		return false, wrap(what, err)
	}
	switch verdict {
	case "created":
		if known { // and deleted meanwhile, perhaps with its index entries
			_, err = l.announce(ctx, id)
		}
		return true, wrap(what, err)
	case "exists":
		return false, nil
	case "conflict":
		return false, fmt.Errorf("ledger: %s: job %q: %w", what, id, ErrConflict)
	default:
		return false, fmt.Errorf("ledger: %s: %w", what, ErrLost)
	}
}

// announce writes the index entries of a job that is about to come. They are
// first: a job that no sweeper can find would never be finished, while an
// entry without a job is only passed over. It tells whether there is a job
// under the id already.
func (l *Ledger) announce(ctx context.Context, id string) (known bool, err error) {
	entry := redis.Z{Score: float64(time.Now().UnixMilli()), Member: id}
	var job, index, active *redis.IntCmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		job = p.Exists(ctx, l.keys(id).job)
		index, active = p.ZAddNX(ctx, l.indexKey(), entry), p.ZAddNX(ctx, l.activeKey(), entry)
		return nil
	})
	if err == nil && job.Val() == 0 && index.Val()+active.Val() < 2 {
		// Left from a former job or a load that failed, and about to be dropped as such.
		_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.ZAdd(ctx, l.indexKey(), entry)
			p.ZAdd(ctx, l.activeKey(), entry)
			return nil
		})
	}
	return err == nil && job.Val() == 1, err
}

func (ld *Load) sealArgs() []any {
	names := ld.list.names
	args := []any{
		ld.id, ld.hash.Sum(nil)[:fingerprintBytes], ld.spec.Document, ld.list.lastNumber(), ld.list.last, len(names),
	}
	for _, name := range names {
		args = append(args, name)
	}
	state := StateRunning
	if !ld.spec.SendAt.IsZero() {
		state = StateScheduled
	}
	args = append(args, "state", string(state), "total", ld.list.total, "pending", ld.list.total)
	return append(args, ld.spec.fields()...)
}

// Abort removes what was staged. Without it the same happens after an hour.
func (ld *Load) Abort(ctx context.Context) error {
	if err := ld.ledger.client.Unlink(ctx, ld.ledger.stagedKey(ld.spec.ID, ld.id)).Err(); err != nil {
		return fmt.Errorf("ledger: abort: %w", err)
	}
	return nil
}
