package apiclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
)

// Client sends messages and uploads files. It is safe for use by many goroutines.
type Client struct {
	wire    *wire
	files   *files
	form    Form
	ids     bool
	tokens  TokenSource
	url     string // .../messages, without the target type of the split form
	readers sync.Pool
}

// New returns a client; Close it. It opens no connection yet.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("apiclient: %w", err)
	}
	base, _ := appURL(c.BaseURL, c.Org, c.App)
	w, err := newWire(base, c.MaxConns, c.Timeout)
	if err != nil {
		return nil, err
	}
	if c.Observe != nil {
		w.observe = c.Observe
	}
	return &Client{
		wire: w, files: newFiles(base, c.Timeout, w.observe), form: c.Form, ids: c.MessageIDs, tokens: c.Tokens, url: base.JoinPath("messages").String(),
		readers: sync.Pool{New: func() any { return new(reader) }},
	}, nil
}

// Close closes idle connections and the token source. Calls in flight go on.
func (c *Client) Close() {
	c.tokens.Close()
	c.wire.close()
	c.files.http.CloseIdleConnections()
}

// Call is one POST: the body that Message.Envelope and the list of targets made.
type Call struct {
	TargetType TargetType
	Body       []byte
	// Lines are the targets of the body in its order, one a line, as they are:
	// not in JSON. The last newline may be left out.
	Lines []byte
	Count int // how many targets these are, at least 1
}

func (c Call) check() error {
	lines := bytes.Count(bytes.TrimSuffix(c.Lines, []byte("\n")), []byte("\n")) + 1
	switch {
	case !c.TargetType.Valid():
		return fmt.Errorf("unknown target type %q", c.TargetType)
	case c.Count < 1 || len(c.Lines) == 0 || lines != c.Count:
		return fmt.Errorf("%d lines for %d targets", lines, c.Count)
	}
	return nil
}

// maxReplays is how often a call is made again because its token had died.
const maxReplays = 3

// Send makes a call. Its error is always an *Error, and then no target has an
// outcome of its own. A 401 leads to another attempt with another token, as
// long as the token source has hope; if tokens keep dying, KindNoToken says so.
func (c *Client) Send(ctx context.Context, call Call) (Answer, error) {
	if err := call.check(); err != nil {
		return Answer{}, &Error{Kind: KindRejected, Err: err}
	}
	var answer Answer
	e := c.withToken(ctx, func(token string) (e *Error) {
		answer, e = c.attempt(ctx, call, token)
		return e
	})
	if e != nil {
		return Answer{}, e
	}
	return answer, nil
}

// withToken makes an attempt, and others as long as the API refuses tokens.
func (c *Client) withToken(ctx context.Context, attempt func(token string) *Error) *Error {
	for replays := 0; ; replays++ {
		token, err := c.tokens.Token(ctx)
		if err != nil {
			e := *asError(err)
			e.NotMade = replays == 0
			return &e
		}
		e := attempt(token)
		if e == nil || e.Status/100 == 2 {
			c.tokens.Accepted(token)
		}
		switch {
		case e == nil || e.Kind != KindUnauthorized || !c.tokens.Rejected(token):
			return e
		case replays == maxReplays:
			e.Kind, e.Err = KindNoToken, errors.New("renewed tokens have died one after another")
			return e
		}
	}
}

// attempt is one POST and its one classification.
func (c *Client) attempt(ctx context.Context, call Call, token string) (Answer, *Error) {
	r := c.readers.Get().(*reader)
	defer c.readers.Put(r)
	p := post{endpoint: messagesEndpoint, url: c.url, token: token, body: call.Body, secret: token}
	switch {
	case c.form == FormSplit:
		p.endpoint += "_" + string(call.TargetType)
		p.url += "/" + string(call.TargetType)
	case c.ids:
		p.url += "?useMsgId=true"
	}
	status, e := c.wire.post(ctx, p, &r.body)
	if e == nil {
		r.secret = token
		answer, err := r.read(r.body.Bytes(), call, c.ids)
		if err == nil {
			return answer, nil
		}
		e = &Error{Kind: KindUnknown, Status: status, Err: err}
	}
	switch {
	case status/100 == 2:
		e.Body = r.body.String()
		e.clean(token)
	case e.Kind == KindTooMany && e.Limit >= call.Count:
		e.Kind, e.Limit = KindRejected, 0 // a limit of something else: fewer targets cannot help
	}
	return Answer{}, e
}
