package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/go-json-experiment/json"
)

// bareCommand is the yardstick: about the least that a Go program with
// net/http can do to deliver a list. It reads names, one a line, cuts them
// into bodies as full as the limits allow, posts these, and counts the word
// "success" in the answers.
//
// What it does not do, and what the difference to Crier therefore pays for: it
// checks no name and drops no repeated one, escapes nothing, stores nothing
// and so remembers nothing after a crash, knows no second job, no quota, no
// retry and no timeout, reads no answer (whose success it was is lost), keeps
// no metrics and no log, and ends at the first fault.
type bareCommand struct {
	Targets string `required:"" placeholder:"FILE" help:"List of targets, one a line."`
	ChatURL string `name:"chat-url" required:"" help:"Base URL of the simulated Chat API."`
	Senders int    `default:"${senders}" help:"Calls in flight."`
}

// bareResult is what the loop prints at its end.
type bareResult struct {
	Calls   int `json:"calls"`
	Success int `json:"success"`
}

const (
	// Measured with 1 to 64: the CPU time of a call falls until about here, as
	// threads find more to do each time they wake.
	bareSenders = 32
	bareBuffer  = 16 << 10 // bytes: a whole request and most answers fit, so each is one system call
	bareRead    = 64 << 10 // bytes: many bodies' worth of names
)

// Run delivers the list.
func (c *bareCommand) Run(std stdio) error {
	file, err := os.Open(c.Targets)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	result, err := bareDeliver(file, c.ChatURL, c.Senders)
	if err != nil {
		return fmt.Errorf("bare loop: %w", err)
	}
	return json.MarshalWrite(std.out, result)
}

// bareLoop is one list on its way.
type bareLoop struct {
	transport *http.Transport
	url       *url.URL

	mu  sync.Mutex // guards what follows
	cut cutter
	sum bareResult
	err error
}

// bareDeliver posts the whole list with so many calls in flight.
func bareDeliver(names io.Reader, chatURL string, senders int) (bareResult, error) {
	target, err := url.Parse(chatURL + messagesPath())
	if err != nil {
		return bareResult{}, err
	}
	head, tail, err := envelope()
	if err != nil {
		return bareResult{}, err
	}
	l := &bareLoop{
		url: target,
		cut: cutter{names: names, head: head, tail: tail},
		transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: senders, ReadBufferSize: bareBuffer, WriteBufferSize: bareBuffer,
		},
	}
	defer l.transport.CloseIdleConnections()
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			sum, err := l.send()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.sum.Calls += sum.Calls
			l.sum.Success += sum.Success
			l.err = errors.Join(l.err, err)
		})
	}
	group.Wait()
	return l.sum, l.err
}

// send posts batch after batch until none is left. Request, body and answer
// are the same memory each time.
func (l *bareLoop) send() (sum bareResult, err error) {
	var body []byte
	var reader bytes.Reader
	var answer bytes.Buffer
	request := &http.Request{
		Method: http.MethodPost, URL: l.url, Body: io.NopCloser(&reader),
		Header: http.Header{
			"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Authorization": {"Bearer " + simulated.Token},
		},
	}
	for {
		l.mu.Lock()
		body, err = l.cut.next(body[:0])
		l.mu.Unlock()
		if err != nil || len(body) == 0 {
			return sum, err
		}
		reader.Reset(body)
		request.ContentLength = int64(len(body))
		response, err := l.transport.RoundTrip(request)
		if err != nil {
			return sum, err
		}
		answer.Reset()
		_, err = answer.ReadFrom(response.Body) // to its end, so that the connection is free again
		_ = response.Body.Close()
		switch {
		case err != nil:
			return sum, err
		case response.StatusCode != http.StatusOK:
			return sum, fmt.Errorf("answer %d: %.200s", response.StatusCode, answer.Bytes())
		}
		sum.Calls++
		sum.Success += bytes.Count(answer.Bytes(), success)
	}
}

var success = []byte(`:"success"`)

// cutter makes bodies of names that need no escape.
type cutter struct {
	names      io.Reader
	head, tail []byte
	buffer     [bareRead]byte
	rest       []byte // of the buffer: names that are in no body yet
	ended      bool   // nothing is left to read
}

// next appends the next body, nothing at the end of the list.
func (c *cutter) next(body []byte) ([]byte, error) {
	if len(c.rest) <= limits.MaxBody && !c.ended {
		if err := c.read(); err != nil {
			return nil, err
		}
	}
	body = append(body, c.head...)
	room := limits.MaxBody - len(c.tail) + len(`,`) // the comma of the last name gives way to the tail
	count := 0
	for ; count < limits.MaxTargets[targetType] && len(c.rest) > 0; count++ {
		end := bytes.IndexByte(c.rest, '\n')
		if end < 0 {
			return nil, fmt.Errorf("no line end after %.80q", c.rest)
		}
		if len(body)+end+len(`"",`) > room {
			break
		}
		body = append(body, '"')
		body = append(body, c.rest[:end]...)
		body = append(body, '"', ',')
		c.rest = c.rest[end+1:]
	}
	switch {
	case count > 0:
		return append(body[:len(body)-1], c.tail...), nil
	case len(c.rest) > 0:
		return nil, fmt.Errorf("%.80q fits no body", c.rest)
	default:
		return nil, nil
	}
}

// read fills the buffer.
func (c *cutter) read() error {
	kept := copy(c.buffer[:], c.rest)
	n, err := io.ReadFull(c.names, c.buffer[kept:])
	c.rest = c.buffer[:kept+n]
	if c.ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); c.ended {
		return nil
	}
	return err
}
