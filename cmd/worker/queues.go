package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"crier/internal/tasks"
)

const (
	queuesPath    = "/queues"
	queuesTimeout = 10 * time.Second // for an answer of the queue page
	queuesAtOnce  = 4                // questions to Redis at a time, whoever looks
	maxRows       = 100              // tasks in one answer, as many as the page offers
	maxListed     = 64 << 20         // bytes of their payloads, about
)

// queuePage shows the asynq queues of a namespace in a browser. It changes
// nothing, shows no message, and can cost neither Redis nor this process much.
type queuePage struct {
	pages     http.Handler
	redisInfo http.Handler
	inspector *asynq.Inspector
	places    chan struct{}
}

// newQueuePage returns the page for everything below queuesPath.
func newQueuePage(client redis.UniversalClient, namespace string, log *slog.Logger) http.Handler {
	own := ownQueues{UniversalClient: client, names: tasks.Queues(namespace)}
	options := asynqmon.Options{
		RootPath: queuesPath, ReadOnly: true, RedisConnOpt: own,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(tasks.ShowPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(func(string, []byte) string { return "" }),
	}
	p := &queuePage{
		pages: asynqmon.New(options), inspector: asynq.NewInspectorFromRedisClient(own), places: make(chan struct{}, queuesAtOnce),
	}
	options.RedisConnOpt = plain{client} // asynqmon asks only those about Redis whose type it knows
	p.redisInfo = asynqmon.New(options)
	return recovered(log, http.TimeoutHandler(p, queuesTimeout, "Redis has not answered in time\n"))
}

// listing is the API's path of a list of tasks.
var listing = regexp.MustCompile(`^` + queuesPath + `/api/queues/([^/]+)/.*tasks$`)

func (p *queuePage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the queues can be looked at here, not changed", http.StatusMethodNotAllowed)
		return
	}
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-r.Context().Done():
		return
	}
	if r.URL.Path == queuesPath+"/api/redis_info" {
		p.redisInfo.ServeHTTP(w, r)
		return
	}
	if list := listing.FindStringSubmatch(r.URL.Path); list != nil {
		r = r.Clone(r.Context())
		r.URL.RawQuery = p.bounded(list[1], r.URL.Query()).Encode()
	}
	p.pages.ServeHTTP(w, r)
}

// bounded lets an answer have a bounded number of tasks: a script reads them, and
// Redis serves nobody else meanwhile. Of large ones it has fewer, since asynq
// reads the payloads, too.
func (p *queuePage) bounded(queue string, query url.Values) url.Values {
	within := func(name string, def, most int) int {
		n, err := strconv.Atoi(query.Get(name))
		if err != nil {
			n = def
		}
		return min(max(n, 1), most)
	}
	size := within("size", 20, maxRows)
	if info, err := p.inspector.GetQueueInfo(queue); err == nil && info.Size > 0 && info.MemoryUsage > 0 {
		size = int(min(int64(size), max(1, maxListed*int64(info.Size)/info.MemoryUsage)))
	}
	query.Set("size", strconv.Itoa(size))
	query.Set("page", strconv.Itoa(within("page", 1, 1_000_000)))
	return query
}

// ownQueues is a client to which the queues of one namespace are all that there
// are, whether anything was ever put on them or not. asynq itself remembers those
// of all namespaces that were used, and none once Redis has come back empty.
type ownQueues struct {
	redis.UniversalClient
	names []string
}

// allQueues is the set in which asynq remembers queues.
const allQueues = "asynq:queues"

// MakeRedisClient is for asynq.RedisConnOpt.
func (o ownQueues) MakeRedisClient() any { return o }

// SMembers tells the queues.
func (o ownQueues) SMembers(ctx context.Context, key string) *redis.StringSliceCmd {
	if key != allQueues {
		return o.UniversalClient.SMembers(ctx, key)
	}
	cmd := redis.NewStringSliceCmd(ctx, "smembers", key)
	cmd.SetVal(slices.Clone(o.names))
	return cmd
}

// SIsMember tells whether a queue is one of them.
func (o ownQueues) SIsMember(ctx context.Context, key string, member any) *redis.BoolCmd {
	if key != allQueues {
		return o.UniversalClient.SIsMember(ctx, key, member)
	}
	cmd := redis.NewBoolCmd(ctx, "sismember", key, member)
	name, _ := member.(string) // asynq asks for strings
	cmd.SetVal(slices.Contains(o.names, name))
	return cmd
}

// Close leaves the client open: it belongs to the worker.
func (o ownQueues) Close() error { return nil }

// plain is a client as it is. What is made with it must not be closed.
type plain struct{ client redis.UniversalClient }

// MakeRedisClient is for asynq.RedisConnOpt.
func (p plain) MakeRedisClient() any { return p.client }

// recovered answers with 500 where a page panics: what others have written to
// Redis must not end a worker, nor a connection without a word.
func recovered(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if fault := recover(); fault != nil {
				log.Error("a page of the admin server failed", "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
				http.Error(w, "an error that should not happen, see the log", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
