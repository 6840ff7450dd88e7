package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Queue puts slot tokens on the asynq queues. A token says only "work on job
// J": which segment a slot gets is the ledger's business, so tokens are
// interchangeable, a spare one ends at once, and a lost one is but a lost slot.
type Queue struct {
	redis     redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector
	namespace string
}

// slotTask is the type of a token's asynq task; its payload is the job's id.
const slotTask = "slot"

// maxTokens is how many tokens a new job is given, one for each segment at most.
// The sweeper adds what a larger fleet can use.
const maxTokens = 8

// NewQueue returns the queues of a namespace.
func NewQueue(client redis.UniversalClient, namespace string) *Queue {
	return &Queue{
		redis: client, client: asynq.NewClientFromRedisClient(client), inspector: asynq.NewInspectorFromRedisClient(client),
		namespace: namespace,
	}
}

// name returns the queue that slots of such jobs are lent from.
func (q *Queue) name(urgent bool) string {
	if urgent {
		return q.namespace + "-urgent"
	}
	return q.namespace + "-bulk"
}

// names lists them, whether anything was ever put there or not.
func (q *Queue) names() []string { return []string{q.name(false), q.name(true), q.intake()} }

// intake returns the raw queue, on which backends put send jobs.
func (q *Queue) intake() string { return q.namespace + "-intake" }

// PutTokens puts up to n slot tokens for a job at the end of its queue.
func (q *Queue) PutTokens(ctx context.Context, job string, urgent bool, n int) error {
	for range min(n, maxTokens) {
		// asynq's archive forgets, and so does its record of a done task: a
		// token is never failed for good, and its id means nothing.
		_, err := q.client.EnqueueContext(ctx, asynq.NewTask(slotTask, []byte(job)),
			asynq.Queue(q.name(urgent)), asynq.MaxRetry(math.MaxInt32), asynq.Timeout(tokenTimeout))
		if err != nil {
			return fmt.Errorf("tasks: token: %w", err)
		}
	}
	return nil
}

// tokenTimeout is far above the longest slice: asynq gives a task that runs
// past it to somebody else.
const tokenTimeout = 30 * time.Minute

// oldest returns when the token at the head of a queue was put there; tokens
// that were put before have been taken. With an empty queue that is now.
func (q *Queue) oldest(ctx context.Context, urgent bool) (time.Time, error) {
	now := time.Now()
	load, err := q.load(ctx, q.name(urgent))
	return now.Add(-load.latency), err
}

// waiting reports whether tokens wait for a slot.
func (q *Queue) waiting(ctx context.Context, urgent bool) (bool, error) {
	load, err := q.load(ctx, q.name(urgent))
	return load.tasks[asynq.TaskStatePending] > 0, err
}

// queueLoad is what waits in a queue, and what asynq keeps of it.
type queueLoad struct {
	tasks   map[asynq.TaskState]int // see taskStates
	latency time.Duration           // age of the oldest pending task
}

// taskStates are asynq's, but for that of groups, which are not used here.
func taskStates() []asynq.TaskState {
	return []asynq.TaskState{
		asynq.TaskStatePending, asynq.TaskStateActive, asynq.TaskStateScheduled,
		asynq.TaskStateRetry, asynq.TaskStateArchived, asynq.TaskStateCompleted,
	}
}

// load looks at a queue; one on which nothing was ever put is empty.
func (q *Queue) load(ctx context.Context, name string) (queueLoad, error) {
	info, err := q.inspector.GetQueueInfo(name)
	if err != nil {
		return q.count(ctx, name)
	}
	return queueLoad{latency: info.Latency, tasks: map[asynq.TaskState]int{
		asynq.TaskStatePending: info.Pending, asynq.TaskStateActive: info.Active, asynq.TaskStateScheduled: info.Scheduled,
		asynq.TaskStateRetry: info.Retry, asynq.TaskStateArchived: info.Archived, asynq.TaskStateCompleted: info.Completed,
	}}, nil
}

// count looks at a queue itself, where asynq does not: one that is not in its list,
// or with a broken task in it, whose id is listed and whose record is gone.
func (q *Queue) count(ctx context.Context, name string) (queueLoad, error) {
	prefix := "asynq:{" + name + "}:"
	counts := map[asynq.TaskState]*redis.IntCmd{}
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, state := range taskStates() {
			if key := prefix + state.String(); state == asynq.TaskStatePending || state == asynq.TaskStateActive {
				counts[state] = p.LLen(ctx, key)
			} else {
				counts[state] = p.ZCard(ctx, key)
			}
		}
		return nil
	})
	if err != nil {
		return queueLoad{}, wrapQueue(err)
	}
	load := queueLoad{tasks: map[asynq.TaskState]int{}}
	for state, n := range counts {
		load.tasks[state] = int(n.Val())
	}
	oldest, err := q.redis.LIndex(ctx, prefix+"pending", -1).Result()
	if err == nil {
		var since int64
		since, err = q.redis.HGet(ctx, prefix+"t:"+oldest, "pending_since").Int64()
		load.latency = time.Since(time.Unix(0, since))
	}
	if errors.Is(err, redis.Nil) { // nothing is pending, or it is the broken one
		load.latency, err = 0, nil
	}
	return load, wrapQueue(err)
}

func wrapQueue(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tasks: queue: %w", err)
}
