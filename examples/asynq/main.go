// Command asynq shows how a Go backend hands Crier a message over the raw
// queue: one asynq task whose payload is the send job's document.
//
//	go run ./examples/asynq -id login-4711 -user u1 -text "Your code is 123456"
//
// It prints the job's id: `enqueue status ID` tells what became of it, and
// `enqueue rejected` of documents that were no valid jobs.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/url"
	"os"

	"github.com/hibiken/asynq"
)

func main() {
	id := flag.String("id", "", "idempotency key: the same id is the same message, sent once (default: made by asynq)")
	user := flag.String("user", "u1", "who gets it")
	text := flag.String("text", "Your code is 123456", "what to say")
	flag.Parse()
	if err := send(*id, *user, *text); err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
}

// send enqueues a one-time code. A backend that runs on keeps one client open.
func send(id, user, text string) error {
	redis, err := connection(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379/0"))
	if err != nil {
		return err
	}
	client := asynq.NewClient(redis)
	defer func() { _ = client.Close() }() // all was sent

	// The same document as for `enqueue send --job` and over HTTP, at most 16 MiB.
	document, err := json.Marshal(map[string]any{
		"target_type": "users",
		"target":      []string{user}, // any number of them
		"msg":         map[string]any{"type": "txt", "msg": text},
		"options":     map[string]any{"priority": "urgent"}, // never waits behind bulk
	})
	if err != nil {
		return err
	}
	options := []asynq.Option{
		asynq.Queue(cmp.Or(os.Getenv("NAMESPACE"), "crier") + "-intake"),
		// Crier takes in what asynq has archived, too; but why let it get there.
		asynq.MaxRetry(math.MaxInt32),
	}
	if id != "" {
		options = append(options, asynq.TaskID(id)) // the document has no id: the task's is the job's
	}
	task, err := client.Enqueue(asynq.NewTask("message:send", document), options...)
	switch {
	case errors.Is(err, asynq.ErrTaskIDConflict):
		// It waits to be taken in: somebody has enqueued it already. Once it is
		// taken in there is no conflict any more, and the same document under
		// the same id is the job that exists: nobody gets it twice. So whoever
		// is not sure whether it was enqueued enqueues it again.
		fmt.Fprintln(os.Stderr, "asynq: it is queued already")
	case err != nil:
		return err
	default:
		id = task.ID
	}
	_, err = fmt.Fprintln(os.Stdout, id)
	return err
}

// connection is asynq.ParseRedisURI, which drops the user of a URL: with ACLs,
// the password alone would be tried on the default user.
func connection(address string) (asynq.RedisConnOpt, error) {
	redis, err := asynq.ParseRedisURI(address)
	if err != nil {
		return nil, errors.New("REDIS_URL cannot be read") // the error itself may quote the password
	}
	if single, ok := redis.(asynq.RedisClientOpt); ok {
		if parsed, err := url.Parse(address); err == nil {
			single.Username = parsed.User.Username()
		}
		return single, nil
	}
	return redis, nil
}
