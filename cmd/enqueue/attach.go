package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"crier/internal/apiclient"
	"crier/internal/settings"
	"crier/internal/tasks"
)

// observer is told of requests to the Chat API: see apiclient.Config.
type observer = func(endpoint string, status int, took time.Duration)

// newUploader reads the settings of the Chat API and returns what puts files
// there, and tells observe, if not nil, of each request; close its Client. Wrong
// settings are a usage error. It connects to nothing yet.
func (a *app) newUploader(c settings.Chat, observe observer, log *slog.Logger) (*tasks.Attachments, error) {
	var faults settings.Faults
	access := c.ReadChat(&faults, apiclient.CheckApp)
	if err := faults.Err(); err != nil {
		return nil, &usageError{err}
	}
	tokens, err := tasks.NewTokens(tasks.TokensConfig{
		Fixed: access.Token, Redis: a.redis, Namespace: a.namespace,
		Credentials: apiclient.CredentialsConfig{
			BaseURL: access.BaseURL, Org: access.Org, App: access.App, Timeout: access.Timeout,
			ClientID: access.ClientID, Secret: access.Secret, Observe: observe,
		},
	}, log)
	if err != nil {
		return nil, &usageError{err}
	}
	cfg := apiclient.DefaultConfig()
	cfg.Observe = observe
	cfg.BaseURL, cfg.Org, cfg.App, cfg.Timeout, cfg.Tokens = access.BaseURL, access.Org, access.App, access.Timeout, tokens
	client, err := apiclient.New(cfg)
	if err != nil {
		tokens.Close()
		return nil, &usageError{err}
	}
	return &tasks.Attachments{Ledger: a.ledger, Client: client, App: access.Org + "/" + access.App}, nil
}

// attached is the file that goes into a job's message.
type attached struct {
	chat     settings.Chat
	path     string
	file     *os.File
	upload   apiclient.Upload
	document []byte // without the file
}

// openAttached opens the file of --attach; nil = none is given. Whatever keeps
// it from being uploaded is the fault of who gave it.
func (c *jobFlags) openAttached() (*attached, error) {
	if c.Attach == nil {
		return nil, nil
	}
	path := *c.Attach
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, usage("--attach: %w", err)
	case !info.Mode().IsRegular():
		return nil, usage("--attach: %s is no file", path)
	case info.Size() == 0:
		return nil, usage("--attach: %s is empty", path)
	case info.Size() > apiclient.MaxFile:
		return nil, usage("--attach: %s has %d bytes, the API takes %d", path, info.Size(), apiclient.MaxFile)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, usage("--attach: %w", err)
	}
	return &attached{
		chat: c.Chat, path: path, file: file,
		upload: apiclient.Upload{Name: filepath.Base(path), Content: file, Size: info.Size()},
	}, nil
}

func (f *attached) close() {
	if f != nil {
		_ = f.file.Close() // read only
	}
}

// parse reads a document, to which the file goes if there is one. It is not
// uploaded yet: its URL stands in for the one that it will have.
func (f *attached) parse(ctx context.Context, a *app, text []byte) (tasks.Document, error) {
	if f == nil {
		return tasks.ParseDocument(text)
	}
	f.document = text
	name := f.chat.ChatOrg + "/" + f.chat.ChatApp
	if name == "/" { // for a plan that is fine
		bound, err := a.ledger.App(ctx)
		if err != nil {
			return tasks.Document{}, err
		}
		if name = bound; name == "" {
			name = "organization/application"
		}
	}
	expected, err := tasks.ExpectUpload(f.chat.ChatURL, name, f.upload)
	if err != nil {
		return tasks.Document{}, usage("--attach: %w", err)
	}
	return f.parseWith(expected)
}

func (f *attached) parseWith(file tasks.Attachment) (tasks.Document, error) {
	return file.ReadDocument(bytes.NewReader(f.document))
}

// put uploads the file for a submission that is otherwise right, and returns
// the document that refers to it.
func (f *attached) put(ctx context.Context, a *app, sub tasks.Submission, s *tasks.Submitter) (tasks.Document, error) {
	uploader, err := a.newUploader(f.chat, nil, slog.New(slog.DiscardHandler)) // what fails for good is returned
	if err != nil {
		return tasks.Document{}, err
	}
	defer uploader.Client.Close()
	if err := s.Check(ctx, sub); err != nil {
		return tasks.Document{}, err
	}
	file, err := uploader.Upload(ctx, sub.Document.ID, f.upload)
	if errors.Is(err, tasks.ErrForeign) {
		return tasks.Document{}, usage("CHAT_ORG, CHAT_APP: %w", err)
	}
	if err != nil {
		return tasks.Document{}, fmt.Errorf("--attach %s: %w", f.path, err)
	}
	fmt.Fprintf(a.err, "%s is uploaded, and kept until %s\n", f.path, file.Expires.Format(time.RFC3339))
	return f.parseWith(file)
}

// attachable are the types of messages that --attach is for.
func attachable() string { return strings.Join(tasks.AttachableTypes(), ", ") }
