package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"

	"github.com/klauspost/compress/zstd"

	"crier/internal/apiclient"
	"crier/internal/chatsim"
	"crier/internal/chunker"
	"crier/internal/tasks"
)

// What is sent, and where to, by Crier and by the bare loop alike.
const (
	messageText = "hello"
	targetType  = apiclient.Users
)

var (
	simulated = chatsim.DefaultConfig()
	limits    = tasks.DefaultLimits(apiclient.FormUnified)
)

func messagesPath() string { return "/" + simulated.Org + "/" + simulated.App + "/messages" }

// envelope is what stands before and after the list in every body.
func envelope() (head, tail []byte, err error) {
	return apiclient.Message{TargetType: targetType, Msg: []byte(`{"type":"txt","msg":"` + messageText + `"}`)}.Envelope(limits.Form)
}

// fewestCalls is the bound for a list: batches as full as the limits allow.
// It holds little of the list in memory (see usageOf).
func fewestCalls(names io.Reader) (calls int64, err error) {
	head, tail, err := envelope()
	if err != nil {
		return 0, err
	}
	cut := chunker.Limits{MaxTargets: limits.MaxTargets[targetType], MaxBytes: limits.MaxBody, Overhead: len(head) + len(tail)}
	buffer := make([]byte, 0, 64<<10)
	for ended := false; !ended; {
		n, err := names.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if ended = errors.Is(err, io.EOF); err != nil && !ended {
			return 0, err
		}
		rest := buffer
		// What lies further away than a body is long cannot change a batch.
		for len(rest) > limits.MaxBody || ended && len(rest) > 0 {
			if _, rest, err = cut.Next(rest); err != nil {
				return 0, err
			}
			calls++
		}
		buffer = buffer[:copy(buffer, rest)]
	}
	return calls, nil
}

// packed is the size of a file as zstd makes it at its level 3, and what made it.
func packed(ctx context.Context, path string) (size int64, by string, err error) {
	var count counter
	if program, err := exec.LookPath("zstd"); err == nil {
		cmd := exec.CommandContext(ctx, program, "-3", "-q", "-c", path)
		cmd.Stdout = &count
		err := cmd.Run()
		return int64(count), "zstd -3", err
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = file.Close() }() // read only
	w, err := zstd.NewWriter(&count, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return 0, "", err
	}
	if _, err := io.Copy(w, file); err != nil {
		return 0, "", err
	}
	err = w.Close()
	return int64(count), "klauspost zstd at SpeedDefault, as there is no zstd program", err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
