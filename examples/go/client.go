package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Client sends through Crier's HTTP gateway. It is safe for concurrent use.
//
// A call is repeated until ctx ends, where no answer came or the gateway asks for
// it. That is safe: a job has an id, under which the gateway knows it again, and it
// tells the targets of a list apart.
type Client struct {
	url, key string
	http     *http.Client
}

// NewClient returns a client of the gateway at url; key is "" where it asks for none.
func NewClient(url, key string) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// Once all was sent. A list may have to wait for others, a minute at most.
	transport.ResponseHeaderTimeout = 2 * time.Minute
	return &Client{url: strings.TrimRight(url, "/"), key: key, http: &http.Client{Transport: transport}}
}

// Job is a send job; docs/http.md tells of all fields.
type Job struct {
	TargetType string         `json:"target_type"`
	Target     []string       `json:"target,omitempty"`
	Msg        map[string]any `json:"msg"`
	Options    map[string]any `json:"options,omitempty"`
}

// Status is the part of a job's status document that is of use here.
type Status struct{ ID, State string }

// Names gives each name of a list to give, whose error it returns. It is called for
// each try, and must give the same again.
type Names func(give func(name string) error) error

// Problem is what repeating would not cure.
type Problem struct {
	Status int // of the answer, 0 = there was none
	Detail string
}

func (p *Problem) Error() string {
	if p.Status == 0 {
		return p.Detail
	}
	return fmt.Sprintf("%d %s", p.Status, p.Detail)
}

// Send sends a whole job.
func (c *Client) Send(ctx context.Context, id string, job Job) (s Status, err error) {
	document, err := json.Marshal(job)
	if err != nil {
		return s, err
	}
	err = c.call(ctx, request{
		path: "/v1/jobs", headers: map[string]string{"Idempotency-Key": id, "Content-Type": "application/json"},
		body: func() io.Reader { return bytes.NewReader(document) }, try: 10 * time.Second,
	}, &s)
	return s, err
}

// Stream sends a job without targets to all names of a list, which is never held in
// memory. Where names fails, nothing of the list is stored and nothing is sent.
func (c *Client) Stream(ctx context.Context, id string, job Job, names Names) (s Status, err error) {
	s, err = c.Send(ctx, id, job)
	switch {
	case err != nil:
		return s, err
	case s.State == "cancelled": // by somebody, or since no list came for a day
		return s, &Problem{Detail: "job " + id + " was cancelled: delete it, or take another id"}
	case s.State != "loading":
		return s, nil // this very job was started before
	}
	list := request{path: "/v1/jobs/" + id + "/targets", headers: map[string]string{
		"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip",
		"Expect": "100-continue", // so that a refusal is read before the list is sent in vain
	}, body: func() io.Reader {
		list, out := io.Pipe()
		// An error leaves the last chunk out, by which the gateway knows that the list is not whole.
		go func() { _ = out.CloseWithError(pack(out, names)) }()
		return list
	}}
	if err = c.call(ctx, list, &s); err == nil {
		err = c.call(ctx, request{path: "/v1/jobs/" + id + "/start"}, &s)
	}
	return s, err
}

// pack writes names as gzip data, a JSON string a line: whatever is in a name,
// it stays one.
func pack(out io.Writer, names Names) error {
	packed := gzip.NewWriter(out)
	lines := json.NewEncoder(packed)
	if err := names(func(name string) error { return lines.Encode(name) }); err != nil {
		return &Problem{Detail: "the list cannot be read: " + err.Error()}
	}
	return packed.Close()
}

// request is a POST. The zero value of all but path will do.
type request struct {
	path    string
	headers map[string]string
	body    func() io.Reader // for each try
	try     time.Duration    // for one, 0 = as long as it takes
}

// call makes a request until it is answered for good, and reads the answer into result.
func (c *Client) call(ctx context.Context, r request, result any) error {
	const longest = 30 * time.Second
	for pause := time.Second; ; pause = min(2*pause, longest) {
		after, err := c.once(ctx, r, result)
		var problem *Problem
		if err == nil || errors.As(err, &problem) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("given up: %w", err)
		case <-time.After(max(after, rand.N(pause))): // not all clients at once
		}
	}
}

// once makes it once. An error that is no *Problem passes: again, after some time.
func (c *Client) once(ctx context.Context, r request, result any) (after time.Duration, err error) {
	if r.try > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.try)
		defer cancel()
	}
	var body io.Reader
	if r.body != nil {
		body = r.body()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+r.path, body) //nolint:gosec // the address is a setting of ours
	if err != nil {
		return 0, &Problem{Detail: err.Error()}
	}
	for name, value := range r.headers {
		req.Header.Set(name, value)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	answer, err := c.http.Do(req) //nolint:gosec // as above
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return 0, err
	case answer.StatusCode/100 == 2:
		return 0, json.Unmarshal(text, result)
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // without it, 0
	refused := &Problem{Status: answer.StatusCode, Detail: string(bytes.TrimSpace(text))}
	if seconds > 0 || refused.passes() {
		return time.Duration(seconds) * time.Second, errors.New(refused.Error())
	}
	return 0, refused
}

// passes tells what a gateway, or a proxy before it, answers in a bad moment.
func (p *Problem) passes() bool {
	switch p.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented: // the gateway is not set up for this
		return false
	}
	return p.Status >= http.StatusInternalServerError
}
