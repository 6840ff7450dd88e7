// Package ledger is the record of every send job in Redis: its document, its
// targets in segments, who works on which segment, and what became of each
// single target.
//
// Invariant: for every job, at every moment,
// total = pending + sent + failed + unknown + cancelled, and the counts agree
// with the outcomes of the single targets. A target leaves a final outcome
// only from unknown to sent. Only the holder of a segment's claim can change
// the segment.
//
// It knows no messages, no queues and no network but Redis: what an answer
// means and when to send is decided elsewhere. All keys of one job share a
// hash tag, so that each script runs within one slot of a cluster; nothing
// here needs a transaction across jobs.
package ledger

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Errors that callers tell apart.
var (
	// ErrNotFound: there is no such job, or its retention has passed.
	ErrNotFound = errors.New("no such job")
	// ErrConflict: the id belongs to a job with other content.
	ErrConflict = errors.New("the id belongs to a job with other content")
	// ErrLost: what a load had staged is gone; nothing was stored.
	ErrLost = errors.New("staged segments were lost before the job was whole")
	// ErrDamaged: what is stored of a segment cannot be read.
	ErrDamaged = errors.New("the record of a segment is damaged")
	// ErrFenced: the claim on a segment, or the right to add to a job, is no
	// longer held; another one may be at work there.
	ErrFenced = errors.New("the claim is lost")
)

// Config says where the ledger lives and how long it remembers.
type Config struct {
	// Namespace is the prefix of all keys.
	Namespace string
	// Retention is how long the record of a finished bulk job stays.
	Retention time.Duration
	// UrgentRetention is the same for urgent jobs, whose document goes at once.
	UrgentRetention time.Duration
	// LoadingTimeout is how long a job that this ledger begins waits for more
	// targets, or to be started, before it is ended.
	LoadingTimeout time.Duration
	// OwnerTTL is how long an owner may be silent before its claims count as
	// abandoned. Owners beat three times as often.
	OwnerTTL time.Duration
}

// DefaultConfig returns the documented defaults.
func DefaultConfig() Config {
	return Config{
		Namespace:       "crier",
		Retention:       168 * time.Hour,
		UrgentRetention: 24 * time.Hour,
		LoadingTimeout:  24 * time.Hour,
		OwnerTTL:        3 * time.Second,
	}
}

// Ledger reads and writes the record. It is safe for concurrent use.
type Ledger struct {
	cfg      Config
	client   redis.UniversalClient
	packer   *packer
	owner    string
	claims   atomic.Int64
	open     sync.Map                  // claims that are, or may be, held by this ledger
	beaten   atomic.Pointer[time.Time] // just before the last beat that was heard
	replicas replication
}

// New returns a ledger that claims segments under an owner name of its own.
func New(client redis.UniversalClient, cfg Config) (*Ledger, error) {
	packer, err := newPacker()
	if err != nil {
		return nil, err
	}
	return &Ledger{
		cfg: cfg, client: client, packer: packer, owner: uuid.NewString(),
		replicas: replication{masters: map[string]masterView{}},
	}, nil
}

// Owner is the name under which this ledger claims segments, unique to it.
func (l *Ledger) Owner() string { return l.owner }

// OwnerTTL is how long an owner may be silent.
func (l *Ledger) OwnerTTL() time.Duration { return l.cfg.OwnerTTL }

// Ping reports whether Redis answers.
func (l *Ledger) Ping(ctx context.Context) error { return l.client.Ping(ctx).Err() }

// Token returns a new fencing token for Claim, never used before.
func (l *Ledger) Token() string {
	token := l.owner + "/" + strconv.FormatInt(l.claims.Add(1), 10)
	l.open.Store(token, nil)
	return token
}

//go:embed *.lua
var scripts embed.FS

var (
	beatScript       = script("beat.lua")
	sealScript       = script("seal.lua")
	startScript      = script("start.lua")
	claimScript      = script("claim.lua")
	checkpointScript = script("end.lua", "checkpoint.lua")
	settleScript     = script("end.lua", "tidy.lua", "settle.lua")
	controlScript    = script("tidy.lua", "control.lua")
	releaseScript    = script("release.lua")
	lateScript       = script("late.lua")
	dropScript       = script("drop.lua")
	learnScript      = script("learn.lua")
)

// script is that of one file, or of several, one behind the other.
func script(files ...string) *redis.Script {
	var all strings.Builder
	for _, name := range files {
		text, err := scripts.ReadFile(name)
		if err != nil {
			panic(err) // the file is embedded under this name
		}
		all.Write(text)
	}
	return redis.NewScript(all.String())
}

// jobKeys are the keys of one job. Absent ones cost nothing: free and held go
// when the work is done, out and log come with the first outcome.
type jobKeys struct {
	job   string // hash: state, settings, counts; of a small job that is finished also n, o and l: its names, out and log
	doc   string // string: the canonical document without id and targets
	names string // hash: segment number -> packed lines; while the job is loading, staged ones, too
	free  string // sorted set: segments nobody holds, by the time in ms at which they are due
	held  string // hash: segment -> claim, segment# -> last checkpoint
	out   string // string: one Code per target of the job
	log   string // hash: segment number -> lines of "ms [entries]"
	files string // hash: name -> record of what was uploaded for the job, which needs not exist yet
	lock  string // string: token of the Draft that has the right to add targets, while it lives
}

func (l *Ledger) keys(id string) jobKeys {
	tag := l.cfg.Namespace + ":{" + id + "}:"
	return jobKeys{
		job: tag + "job", doc: tag + "doc", names: tag + "names", free: tag + "free",
		held: tag + "held", out: tag + "out", log: tag + "log", files: tag + "files", lock: tag + "lock",
	}
}

func (l *Ledger) stagedKey(id, load string) string {
	return l.cfg.Namespace + ":{" + id + "}:load:" + load
}

// Keys of the whole namespace.
func (l *Ledger) indexKey() string  { return l.cfg.Namespace + ":jobs" }   // sorted set: id by time of creation in ms
func (l *Ledger) activeKey() string { return l.cfg.Namespace + ":active" } // sorted set: the same, of jobs not known to have ended
func (l *Ledger) tokensKey() string { return l.cfg.Namespace + ":tokens" } // hash: id -> time in ms of the last slot tokens
func (l *Ledger) ownersKey() string { return l.cfg.Namespace + ":owners" } // sorted set: see beat.lua

// segment names carry what a claim needs to know: "number:base:count".
func segmentName(number, base, count int) string {
	return fmt.Sprintf("%d:%d:%d", number, base, count)
}

func parseSegmentName(name string) (number, base, count int, err error) {
	if _, err := fmt.Sscanf(name, "%d:%d:%d", &number, &base, &count); err != nil {
		return 0, 0, 0, fmt.Errorf("ledger: segment name %q: %w", name, err)
	}
	return number, base, count, nil
}
