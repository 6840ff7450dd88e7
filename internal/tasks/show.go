package tasks

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Queues names the asynq queues of a namespace: of bulk and of urgent jobs'
// slot tokens, and the raw queue.
func Queues(namespace string) []string {
	q := Queue{namespace: namespace}
	return q.names()
}

// ShowPayload tells of a task's payload what people may see who look at the
// queues: whose it is, and never what is in it. A message may be a one-time code.
func ShowPayload(taskType string, payload []byte) string {
	switch {
	case taskType == slotTask && ValidID(string(payload)):
		return "a slot for job " + string(payload)
	case taskType == intakeTask:
		if id := idOf(payload); id != "" {
			return fmt.Sprintf("a document of %d bytes for job %s", len(payload), id)
		}
		return fmt.Sprintf("a document of %d bytes for a job with this task's id", len(payload))
	default:
		return fmt.Sprintf("%d bytes that are not shown", len(payload))
	}
}

// idOf is the id in a document, "" where there is none, or what stands there is none.
func idOf(document []byte) string {
	var d struct {
		ID jsontext.Value `json:"id"`
	}
	var id string
	if json.Unmarshal(document, &d) != nil || json.Unmarshal(d.ID, &id) != nil || !ValidID(id) {
		return ""
	}
	return id
}
