package ledger

import (
	"bytes"
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

// Spec is what a job is made of, besides its targets.
type Spec struct {
	ID         string
	Name       string // free text for people, may be empty
	TargetType string
	Urgent     bool
	Weight     int // share among running bulk jobs; 0 counts as 1
	Hold       bool
	MaxRate    int       // targets per second, 0 = no cap
	SendAt     time.Time // zero = at once
	ExpiresAt  time.Time // zero = never
	ResendOf   string    // id of the job whose targets are sent again, or ""
	Document   []byte    // canonical JSON of all but id and targets: stored, and part of the fingerprint
}

// Priority returns the word for it: "urgent" or "bulk".
func (s Spec) Priority() string {
	if s.Urgent {
		return "urgent"
	}
	return "bulk"
}

// Load writes the targets of a new job, segment by segment, where nobody sees
// them until Seal. A load that is never sealed disappears by itself.
// It is not safe for concurrent use.
type Load struct {
	ledger *Ledger
	spec   Spec
	id     string // unique to this attempt
	hash   hash.Hash
	total  int
	names  []string // of segments
	layout layout   // in which segments of this list get smallest
	last   []byte   // packed names of the newest segment: goes along with the seal, or is staged by the next Add
}

// bestHolds is for how many segments the layout is kept that was best for the
// first of them.
const bestHolds = 32

// stagedTTL is how long a segment of an unsealed load waits for the next.
const stagedTTL = time.Hour

// NewLoad begins a load. It writes nothing.
func (l *Ledger) NewLoad(spec Spec) *Load {
	ld := &Load{ledger: l, spec: spec, id: uuid.NewString(), hash: sha256.New()}
	doc := sha256.Sum256(spec.Document) // fixed length: documents and targets cannot run into each other
	ld.hash.Write(doc[:])
	return ld
}

// Add appends one segment: count targets, each ended by a newline. Segments
// should be whole batches, since a batch never reaches over two segments.
// The bytes are not kept.
func (ld *Load) Add(ctx context.Context, lines []byte, count int) error {
	if got := bytes.Count(lines, []byte{'\n'}); got != count || count == 0 || lines[len(lines)-1] != '\n' {
		return fmt.Errorf("ledger: load: a segment of %d targets has %d lines", count, got)
	}
	if err := ld.stage(ctx); err != nil {
		return err
	}
	ld.hash.Write(lines)
	if len(ld.names)%bestHolds == 0 {
		ld.layout = ld.ledger.packer.best(lines)
	}
	ld.last = ld.ledger.packer.pack(ld.layout, lines)
	ld.names = append(ld.names, segmentName(len(ld.names), ld.total, count))
	ld.total += count
	return nil
}

// stage writes the newest segment to this load's own key.
func (ld *Load) stage(ctx context.Context) error {
	if ld.last == nil {
		return nil
	}
	key := ld.ledger.stagedKey(ld.spec.ID, ld.id)
	_, err := ld.ledger.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, strconv.Itoa(len(ld.names)-1), ld.last)
		p.Expire(ctx, key, stagedTTL)
		return nil
	})
	if err != nil {
		return fmt.Errorf("ledger: load: %w", err)
	}
	ld.last = nil
	return nil
}

// Total is the number of targets added so far.
func (ld *Load) Total() int { return ld.total }

// Seal makes the job visible and ready to be worked on. A job of the same id
// and content is left as it is, with created false; other content under the id
// is ErrConflict, and nothing changes.
func (ld *Load) Seal(ctx context.Context) (created bool, err error) {
	if ld.total == 0 {
		return false, errors.New("ledger: seal: a job without targets would never finish")
	}
	l, k := ld.ledger, ld.ledger.keys(ld.spec.ID)
	known, err := l.announce(ctx, ld.spec.ID)
	if err != nil {
		return false, err
	}
	keys := []string{k.job, k.doc, k.names, k.free, l.stagedKey(ld.spec.ID, ld.id)}
	verdict, err := sealScript.Run(ctx, l.client, keys, ld.sealArgs()...).Text()
	if err != nil {
		return false, fmt.Errorf("ledger: seal: %w", err)
	}
	switch verdict {
	case "created":
		if known { // and deleted meanwhile, perhaps with its index entries
			_, err = l.announce(ctx, ld.spec.ID)
		}
		return true, err
	case "exists":
		return false, nil
	case "conflict":
		return false, fmt.Errorf("ledger: seal: job %q: %w", ld.spec.ID, ErrConflict)
	default:
		return false, fmt.Errorf("ledger: seal: %w", ErrLost)
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
	return err == nil && job.Val() == 1, wrap("seal", err)
}

func (ld *Load) sealArgs() []any {
	args := []any{
		ld.id, ld.hash.Sum(nil)[:16], ld.spec.Document,
		len(ld.names) - 1, ld.last, len(ld.names),
	}
	for _, name := range ld.names {
		args = append(args, name)
	}
	state := StateRunning
	if !ld.spec.SendAt.IsZero() {
		state = StateScheduled
		args = append(args, "send_at", ld.spec.SendAt.UnixMilli())
	}
	if !ld.spec.ExpiresAt.IsZero() {
		args = append(args, "expires_at", ld.spec.ExpiresAt.UnixMilli())
	}
	if ld.spec.MaxRate > 0 {
		args = append(args, "max_rate", ld.spec.MaxRate)
	}
	args = append(args,
		"state", string(state), "total", ld.total, "pending", ld.total)
	if ld.spec.TargetType != commonType {
		args = append(args, "type", ld.spec.TargetType)
	}
	if ld.spec.Urgent {
		args = append(args, "urgent", 1)
	}
	if ld.spec.Weight > 1 {
		args = append(args, "weight", ld.spec.Weight)
	}
	if ld.spec.Hold {
		args = append(args, "hold", 1)
	}
	if ld.spec.Name != "" {
		args = append(args, "name", ld.spec.Name)
	}
	if ld.spec.ResendOf != "" {
		args = append(args, "resend_of", ld.spec.ResendOf)
	}
	return args
}

// Abort removes what was staged. Without it the same happens after an hour.
func (ld *Load) Abort(ctx context.Context) error {
	if err := ld.ledger.client.Unlink(ctx, ld.ledger.stagedKey(ld.spec.ID, ld.id)).Err(); err != nil {
		return fmt.Errorf("ledger: abort: %w", err)
	}
	return nil
}
