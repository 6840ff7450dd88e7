package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/go-json-experiment/json"
)

// bareCommand is the yardstick: the loop that one writes to deliver a list with
// net/http. It reads names, one a line, cuts them into bodies as full as the
// limits allow, posts these, and counts the word "success" in the answers.
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

// bareSenders is how many calls are in flight. Measured with 1 to 64: the CPU
// time of a call falls until about here, as threads find more to do each time
// they wake.
const bareSenders = 32

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
	client *http.Client
	url    string

	mu  sync.Mutex // guards what follows
	cut cutter
	sum bareResult
	err error
}

// bareDeliver posts the whole list with so many calls in flight.
func bareDeliver(names io.Reader, chatURL string, senders int) (bareResult, error) {
	head, tail, err := envelope()
	if err != nil {
		return bareResult{}, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: senders}
	defer transport.CloseIdleConnections()
	l := &bareLoop{
		client: &http.Client{Transport: transport}, url: chatURL + messagesPath(),
		cut: cutter{names: bufio.NewScanner(names), head: head, tail: tail},
	}
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

// send posts batch after batch until none is left.
func (l *bareLoop) send() (sum bareResult, err error) {
	for {
		l.mu.Lock()
		body, err := l.cut.next()
		l.mu.Unlock()
		if err != nil || body == nil {
			return sum, err
		}
		request, err := http.NewRequest(http.MethodPost, l.url, bytes.NewReader(body)) //nolint:noctx // it ends when it is done
		if err != nil {
			return sum, err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Authorization", "Bearer "+simulated.Token)
		response, err := l.client.Do(request)
		if err != nil {
			return sum, err
		}
		answer, err := io.ReadAll(response.Body) // to its end, so that the connection is free again
		_ = response.Body.Close()
		switch {
		case err != nil:
			return sum, err
		case response.StatusCode != http.StatusOK:
			return sum, fmt.Errorf("answer %d: %.200s", response.StatusCode, answer)
		}
		sum.Calls++
		sum.Success += bytes.Count(answer, success)
	}
}

var success = []byte(`:"success"`)

// cutter makes bodies of names that need no escape.
type cutter struct {
	names      *bufio.Scanner
	head, tail []byte
	left       []byte // a name that did not fit the last body; nil = none
}

// next makes the next body, nil at the end of the list.
func (c *cutter) next() ([]byte, error) {
	body := append(make([]byte, 0, limits.MaxBody), c.head...)
	room := limits.MaxBody - len(c.tail) + len(`,`) // the comma of the last name gives way to the tail
	count := 0
	for ; count < limits.MaxTargets[targetType]; count++ {
		name := c.left
		if c.left = nil; name == nil {
			if !c.names.Scan() {
				break
			}
			name = c.names.Bytes()
		}
		if len(body)+len(name)+len(`"",`) > room {
			c.left = name // it stands until the next Scan
			break
		}
		body = append(append(append(body, '"'), name...), '"', ',')
	}
	switch {
	case count > 0:
		return append(body[:len(body)-1], c.tail...), nil
	case c.left != nil:
		return nil, fmt.Errorf("%.80q fits no body", c.left)
	default:
		return nil, c.names.Err()
	}
}
