package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"crier/internal/settings"
	"crier/internal/tasks"
)

// jobFlags describe a job; send and plan share them.
type jobFlags struct {
	Job         *string  `placeholder:"FILE" help:"The whole document as JSON; - reads standard input."`
	Targets     []string `sep:"none" placeholder:"FILE" help:"List of targets, may be given again and again: .txt (one a line), .csv, .ndjson or .jsonl, each also .gz; - reads standard input, one a line."`
	Column      *string  `placeholder:"NAME" help:"Column of the lists that holds the names (default: target, username, user or id)."`
	Target      []string `sep:"none" placeholder:"NAME" help:"One target; may be given again and again."`
	TargetType  *string  `placeholder:"TYPE" help:"users (default), chatgroups or chatrooms."`
	Exclude     []string `sep:"none" placeholder:"FILE" help:"List of names that are left out, opt-outs perhaps; written as --targets, may be given again and again."`
	SkipInvalid bool     `help:"Leave invalid names out and report them, instead of refusing the list."`

	Type   *string `help:"Message type; txt goes with --text, img, audio, video and file with --attach, all others with --msg."`
	Text   *string `help:"Text of a txt message."`
	Attach *string `placeholder:"FILE" help:"File of at most 10 MB that is uploaded for a message of type img, audio, video (the video itself, not its thumb) or file; its url, secret, filename and the size of a picture go into the message, of --msg and --job too. It needs the settings CHAT_*; the API keeps files for 7 days. With --id it is uploaded once, however often this is run."`
	Msg    *string `placeholder:"JSON" help:"The msg object, of any type."`
	From   *string `placeholder:"USER" help:"Sender (the API's default is admin)."`
	Ext    *string `placeholder:"JSON" help:"Extension object."`

	ID        *string `help:"The job's id, made for you when absent: the same id again is the same job."`
	Name      *string `placeholder:"TEXT" help:"A name for people."`
	Priority  *string `help:"bulk (default) or urgent."`
	Weight    *int    `help:"Share among running bulk jobs, 1 to 10."`
	MaxRate   *int    `placeholder:"N" help:"Targets a second of this job at most."`
	SendAt    *string `placeholder:"TIME" help:"When to begin (RFC 3339)."`
	ExpiresAt *string `placeholder:"TIME" help:"When to end, with what is pending cancelled (RFC 3339)."`
	OnUnknown *string `placeholder:"POLICY" help:"After a lost answer: resend (default) or hold."`

	Chat settings.Chat `embed:"" group:"Settings that --attach alone needs:"`
}

type sendCommand struct {
	jobFlags
	answerFlags
}

// answerFlags say what to tell of a new job; send and resend share them.
type answerFlags struct {
	Wait bool `help:"Wait until the job has ended; exit 3 if not every target was sent."`
	JSON bool `name:"json" help:"Print the status document."`
}

// Run submits the job.
func (c *sendCommand) Run(ctx context.Context, a *app) error {
	var done tasks.Submitted
	err := c.read(ctx, a, func(sub tasks.Submission, file *attached) (err error) {
		submitter := tasks.Submitter{Ledger: a.ledger, Queue: a.queue, Alone: a.alone}
		if file != nil {
			if sub.Document, err = file.put(ctx, a, sub, &submitter); err != nil {
				return err
			}
		}
		done, err = submitter.Submit(ctx, sub)
		return err
	})
	return c.answer(ctx, a, done, err)
}

// answer tells what became of a submission, or why nothing did.
func (c *answerFlags) answer(ctx context.Context, a *app, done tasks.Submitted, err error) error {
	switch {
	case errors.Is(err, tasks.ErrNotKnown):
		return fmt.Errorf("%w; ask with enqueue status, or try again with this --id", err)
	case err != nil:
		return fmt.Errorf("nothing was stored: %w", err)
	}
	a.tellSkipped(done.Skipped, done.SkippedExclude)
	fmt.Fprintln(a.err, accepted(done))
	if !c.JSON {
		fmt.Fprintln(a.out, done.ID)
	}
	if c.Wait {
		return a.wait(ctx, done.ID, c.JSON)
	}
	if c.JSON {
		return a.printStatus(ctx, done.ID)
	}
	return nil
}

// alone tells of a job that was taken all the same.
func (a *app) alone(_ string, err error) { fmt.Fprintf(a.err, "%s: %v\n", tasks.AloneText, err) }

// accepted is what became of a submission in one line.
func accepted(done tasks.Submitted) string {
	said := "accepted"
	if !done.Created {
		said = "known already, nothing was stored"
	}
	line := fmt.Sprintf("job %s: %d targets %s", done.ID, done.Total, said)
	if done.Duplicates > 0 {
		line += fmt.Sprintf(", %d repeated ones dropped", done.Duplicates)
	}
	if done.Excluded > 0 {
		line += fmt.Sprintf(", %d excluded", done.Excluded)
	}
	if done.Skipped != nil {
		line += fmt.Sprintf(", %d invalid ones skipped", done.Skipped.Count)
	}
	return line
}

// document is the one that --job names, or the one that the other flags
// describe, with the file in its message.
func (c *jobFlags) document(ctx context.Context, a *app, file *attached) (tasks.Document, error) {
	var text []byte
	var err error
	if c.Job != nil {
		text, err = c.jobFile(ctx, a)
	} else {
		text, err = c.describe()
	}
	if err != nil {
		return tasks.Document{}, err
	}
	d, err := file.parse(ctx, a, text)
	if err != nil {
		return d, err
	}
	if d.Targets == nil && c.Targets == nil {
		return d, usage("target: is required (--targets or --target)")
	}
	return d, nil
}

func (c *jobFlags) jobFile(ctx context.Context, a *app) ([]byte, error) {
	for _, other := range []*string{
		c.TargetType, c.Type, c.Text, c.Msg, c.From, c.Ext, c.ID, c.Name, c.Priority, c.SendAt, c.ExpiresAt, c.OnUnknown,
	} {
		if other != nil || c.Weight != nil || c.MaxRate != nil || c.Target != nil {
			return nil, usage("--job is the whole document: of the flags about it only --targets, --exclude, --skip-invalid and --attach go along")
		}
	}
	if *c.Job == "-" {
		return io.ReadAll(a.input(ctx))
	}
	text, err := os.ReadFile(*c.Job)
	if err != nil {
		return nil, usage("--job: %w", err)
	}
	return text, nil
}

// describe writes the document that the flags describe. What is wrong with it
// is then found where all documents are checked.
func (c *jobFlags) describe() ([]byte, error) {
	message, err := c.message()
	if err != nil {
		return nil, err
	}
	doc := map[string]any{"target_type": "users", "msg": message}
	options := map[string]any{}
	if c.Target != nil {
		doc["target"] = c.Target
	}
	for _, field := range []struct {
		in    map[string]any
		name  string
		value *string
	}{
		{doc, "id", c.ID},
		{doc, "target_type", c.TargetType},
		{doc, "from", c.From},
		{options, "name", c.Name},
		{options, "priority", c.Priority},
		{options, "send_at", c.SendAt},
		{options, "expires_at", c.ExpiresAt},
		{options, "on_unknown", c.OnUnknown},
	} {
		if field.value != nil {
			field.in[field.name] = *field.value
		}
	}
	if c.Weight != nil {
		options["weight"] = *c.Weight
	}
	if c.MaxRate != nil {
		options["max_rate"] = *c.MaxRate
	}
	if len(options) > 0 {
		doc["options"] = options
	}
	if c.Ext != nil {
		if doc["ext"], err = rawJSON("--ext", *c.Ext); err != nil {
			return nil, err
		}
	}
	return json.Marshal(doc)
}

// message is the msg object: --msg, or what --type with --text or --attach makes.
func (c *jobFlags) message() (any, error) {
	switch {
	case c.Msg != nil && (c.Type != nil || c.Text != nil):
		return nil, usage("--msg is the whole message: --type and --text do not go along")
	case c.Msg != nil:
		return rawJSON("--msg", *c.Msg)
	case c.Attach != nil && c.Text != nil:
		return nil, usage("--attach goes with a message of type %s: --text does not go along", attachable())
	case c.Attach != nil && c.Type == nil:
		return nil, usage("--attach needs --type with one of %s, or --msg", attachable())
	case c.Attach != nil:
		return map[string]string{"type": *c.Type}, nil
	case c.Text != nil && (c.Type == nil || *c.Type == "txt"):
		return map[string]string{"type": "txt", "msg": *c.Text}, nil
	case c.Type != nil && *c.Type == "txt":
		return nil, usage("--type txt needs --text")
	case c.Type != nil && c.Text != nil:
		return nil, usage("--text goes with --type txt only: for %s give --msg", *c.Type)
	case c.Type != nil:
		return nil, usage("--type %s needs --msg with the whole message, or --attach for %s", *c.Type, attachable())
	default:
		return nil, usage("a message is required: --text, --msg or --job")
	}
}

func rawJSON(flag, text string) (jsontext.Value, error) {
	value := jsontext.Value(bytes.TrimSpace([]byte(text)))
	if err := value.Format(); err != nil { // refuses repeated names, too
		return nil, usage("%s: invalid JSON: %w", flag, err)
	}
	return value, nil
}
