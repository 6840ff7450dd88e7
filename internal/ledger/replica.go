package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// errNoReplica: a master has replicas, and none of them says that it has the write.
var errNoReplica = errors.New("no replica has confirmed it")

const (
	replicaWait  = time.Second     // for a replica to confirm
	replicasKnow = 5 * time.Second // how long the last look at a master's replicas counts
)

// replication is what is known of the replicas of each master, by its address.
type replication struct {
	mu      sync.Mutex
	masters map[string]masterView
}

type masterView struct {
	at       time.Time
	replicas bool // at least one is in step
	silent   bool // and none has confirmed the last write
}

// Replicated waits until what was written of a job before, its index entries
// included, has reached a replica of each master concerned, so that a failover
// does not forget the job. It waits for a second at most, and not at all for the
// next five where that was in vain: then nothing is lost as long as the master
// lives, and the error says that this is all that is known. Masters without a
// replica in step, and those that keep from this user (ACL) whether they have one,
// are not waited for; that costs a look once in five seconds.
func (l *Ledger) Replicated(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*replicaWait)
	defer cancel()
	keys := []string{l.keys(id).job}
	if _, several := l.client.(*redis.ClusterClient); several {
		keys = append(keys, l.indexKey(), l.activeKey())
	}
	waited := map[string]bool{}
	var errs []error
	for _, key := range keys {
		master, err := l.masterOf(ctx, key)
		if err == nil && !waited[master.Options().Addr] {
			waited[master.Options().Addr] = true
			err = l.confirmed(ctx, master, l.besides(key))
		}
		errs = append(errs, err)
	}
	return wrap("replicas", errors.Join(errs...))
}

// besides names a key in the slot of another, which has a hash tag or needs one.
func (l *Ledger) besides(key string) string {
	if _, rest, tagged := strings.Cut(key, "{"); tagged {
		key, _, _ = strings.Cut(rest, "}")
	}
	return l.cfg.Namespace + ":{" + key + "}:sync"
}

func (l *Ledger) masterOf(ctx context.Context, key string) (*redis.Client, error) {
	switch client := l.client.(type) {
	case *redis.Client:
		return client, nil
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, key)
	default:
		return nil, fmt.Errorf("a client of type %T tells no master", client)
	}
}

// confirmed writes a key and asks on the same connection for a replica that has
// it: what a master writes reaches its replicas in that order.
func (l *Ledger) confirmed(ctx context.Context, master *redis.Client, key string) error {
	addr := master.Options().Addr
	l.replicas.mu.Lock()
	view := l.replicas.masters[addr]
	l.replicas.mu.Unlock()
	if time.Since(view.at) >= replicasKnow {
		info, err := master.Info(ctx, "replication").Result()
		var refusal redis.Error // it is not told to this user, or by an embedded server
		if err != nil && !errors.As(err, &refusal) {
			return err
		}
		view = masterView{at: time.Now(), replicas: strings.Contains(info, "state=online")}
	}
	var err error
	if view.silent {
		err = errNoReplica
	} else if view.replicas {
		var have *redis.Cmd
		_, err = master.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, key, "", time.Millisecond)
			have = p.Do(ctx, "wait", 1, replicaWait.Milliseconds())
			return nil
		})
		if err == nil && have.Val() == int64(0) {
			err, view.at, view.silent = errNoReplica, time.Now(), true
		}
	}
	l.replicas.mu.Lock()
	defer l.replicas.mu.Unlock()
	l.replicas.masters[addr] = view
	return err
}
