package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Upload is a file that messages refer to by its URL.
type Upload struct {
	URL       string
	At, Until time.Time // of the upload, and when the file is gone
	// Job is the id of the job that it was made for, which needs not exist yet,
	// and Name what the file is known by there; "" = none.
	Job, Name string
	Record    []byte // what Upload is to return for the two
}

// KeepUpload remembers an upload until its file is gone, and returns the record
// that is kept for its job and name: the first that came. Without a job that is
// its own.
func (l *Ledger) KeepUpload(ctx context.Context, u Upload) (record []byte, err error) {
	life := max(time.Until(u.Until), time.Millisecond)
	if err := l.client.Set(ctx, l.urlKey(u.URL), u.At.UnixMilli(), life).Err(); err != nil {
		return nil, wrap("upload", err)
	}
	if u.Job == "" {
		return u.Record, nil
	}
	kept, err := keepScript.Run(ctx, l.client, []string{l.keys(u.Job).files}, u.Name, u.Record, life.Milliseconds()).Text()
	return []byte(kept), wrap("upload", err)
}

var keepScript = script("keep.lua")

// Upload returns the record that KeepUpload keeps for a job and a name, nil
// where there is none, or the file is gone.
func (l *Ledger) Upload(ctx context.Context, job, name string) (record []byte, err error) {
	record, err = l.client.HGet(ctx, l.keys(job).files, name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return record, wrap("upload", err)
}

// UploadedAt returns when the file at a URL was uploaded, the zero time where
// that is not known: somebody else has uploaded it, or it is gone.
func (l *Ledger) UploadedAt(ctx context.Context, url string) (time.Time, error) {
	ms, err := l.client.Get(ctx, l.urlKey(url)).Int64()
	if errors.Is(err, redis.Nil) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, wrap("upload", err)
	}
	return time.UnixMilli(ms).UTC(), nil
}

// urlKey is a string: when the file at a URL was uploaded, in ms.
func (l *Ledger) urlKey(url string) string {
	sum := sha256.Sum256([]byte(url))
	return l.cfg.Namespace + ":file:" + hex.EncodeToString(sum[:])
}
