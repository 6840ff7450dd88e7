package tasks

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Queue puts slot tokens on the asynq queues. A token says only "work on job
// J": which segment a slot gets is the ledger's business, so tokens are
// interchangeable, a spare one ends at once, and a lost one is but a lost slot.
type Queue struct {
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
		client: asynq.NewClientFromRedisClient(client), inspector: asynq.NewInspectorFromRedisClient(client),
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
func (q *Queue) oldest(urgent bool) (time.Time, error) {
	now := time.Now()
	info, err := q.info(urgent)
	if err != nil || info == nil {
		return now, err
	}
	return now.Add(-info.Latency), nil
}

// waiting reports whether tokens wait for a slot.
func (q *Queue) waiting(urgent bool) (bool, error) {
	info, err := q.info(urgent)
	return info != nil && info.Pending > 0, err
}

// info is what asynq knows of a queue, nil where nothing was ever put there.
func (q *Queue) info(urgent bool) (*asynq.QueueInfo, error) {
	name := q.name(urgent)
	known, err := q.inspector.Queues()
	if err != nil || !slices.Contains(known, name) {
		return nil, wrapQueue(err)
	}
	info, err := q.inspector.GetQueueInfo(name)
	return info, wrapQueue(err)
}

func wrapQueue(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tasks: queue: %w", err)
}
