package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Rejection is a payload of the raw queue that was no valid job.
type Rejection struct {
	ID      string // of the task that brought it: any text, not only what a job may be called
	Type    string // of the task
	Problem string // what is wrong, a line for each fault

	Payload []byte    // nil where it was not asked for
	Bytes   int       // of the payload; set by Reject
	At      time.Time // when it was rejected last; set by Reject
}

// Redis keys of rejections. An entry is named by its content, whatever a task's
// id may hold: the same task rejected again is the same entry, while another
// payload under that id is an entry of its own.
func (l *Ledger) rejectedKey() string { return l.cfg.Namespace + ":rejected" } // sorted set: entry by time in ms

func (l *Ledger) rejectionKey(entry string) string { // hash: the fields below
	return l.rejectedKey() + ":" + entry
}

// rejectionFields are those of an entry; the packed payload comes last, so that
// it can be left out.
var rejectionFields = []string{"id", "type", "problem", "bytes", "at", "payload"}

func (r Rejection) entry() string {
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(r.ID), []byte(r.Type), r.Payload} {
		one := sha256.Sum256(part) // of fixed length: parts cannot run into each other
		sum.Write(one[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Reject keeps a payload for Retention. Repeating it makes no second entry.
func (l *Ledger) Reject(ctx context.Context, r Rejection) error {
	entry, now := r.entry(), time.Now()
	_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, l.rejectionKey(entry), "id", r.ID, "type", r.Type, "problem", r.Problem,
			"bytes", len(r.Payload), "at", now.UnixMilli(), "payload", l.packer.pack(packedLines, r.Payload))
		p.PExpire(ctx, l.rejectionKey(entry), l.cfg.Retention)
		p.ZAdd(ctx, l.rejectedKey(), redis.Z{Score: float64(now.UnixMilli()), Member: entry})
		// What has expired leaves the index with the next rejection, or with all of it.
		expired := strconv.FormatInt(now.Add(-l.cfg.Retention).UnixMilli(), 10)
		p.ZRemRangeByScore(ctx, l.rejectedKey(), "-inf", expired)
		p.PExpire(ctx, l.rejectedKey(), l.cfg.Retention)
		return nil
	})
	return wrap("reject", err)
}

// Rejections reads what was rejected, the newest first, with its payload or
// without. One at a time is held in memory; those that expire on the way are
// passed over.
func (l *Ledger) Rejections(ctx context.Context, payloads bool) iter.Seq2[Rejection, error] {
	return func(yield func(Rejection, error) bool) {
		at := redis.ZRangeBy{Min: "-inf", Max: "+inf", Count: 100}
		for {
			entries, err := l.client.ZRevRangeByScoreWithScores(ctx, l.rejectedKey(), &at).Result()
			if err != nil {
				yield(Rejection{}, wrap("rejections", err))
				return
			}
			for _, e := range entries {
				r, err := l.rejection(ctx, e.Member.(string), payloads)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if !yield(r, err) || err != nil {
					return
				}
			}
			if int64(len(entries)) < at.Count {
				return
			}
			at = pageAfter(at, entries)
		}
	}
}

// rejection reads one entry. ErrNotFound where it has expired.
func (l *Ledger) rejection(ctx context.Context, entry string, payload bool) (Rejection, error) {
	fields := rejectionFields
	if !payload {
		fields = fields[:len(fields)-1]
	}
	values := l.client.HMGet(ctx, l.rejectionKey(entry), fields...)
	var read struct {
		ID      string `redis:"id"`
		Type    string `redis:"type"`
		Problem string `redis:"problem"`
		Bytes   int    `redis:"bytes"`
		At      int64  `redis:"at"`
		Payload []byte `redis:"payload"`
	}
	err := values.Scan(&read)
	if err == nil && values.Val()[0] == nil {
		err = ErrNotFound
	}
	r := Rejection{ID: read.ID, Type: read.Type, Problem: read.Problem, Bytes: read.Bytes, At: time.UnixMilli(read.At)}
	if err == nil && payload {
		r.Payload, err = l.packer.unpack(read.Payload)
	}
	return r, wrap("rejection", err)
}
