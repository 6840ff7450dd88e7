package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/tasks"
)

// chatAPI is how this worker gets at the Chat API.
type chatAPI struct {
	config
	redis  redis.UniversalClient
	log    *slog.Logger
	tokens apiclient.TokenSource // set by newClient
}

// newClient makes the client with its source of tokens.
func (c *chatAPI) newClient(metrics *tasks.Metrics) (*apiclient.Client, error) {
	cfg := c.chat
	cfg.Observe = metrics.Observe
	var err error
	c.tokens, err = tasks.NewTokens(tasks.TokensConfig{
		Fixed: c.access.Token, Redis: c.redis, Namespace: c.tasks.Namespace,
		Credentials: apiclient.CredentialsConfig{
			BaseURL: cfg.BaseURL, Org: cfg.Org, App: cfg.App, Timeout: cfg.Timeout,
			ClientID: c.access.ClientID, Secret: c.access.Secret, Observe: metrics.Observe,
		},
	}, c.log)
	if err != nil {
		return nil, err
	}
	cfg.Tokens = c.tokens
	return apiclient.New(cfg)
}

// firstToken bounds how long the first token may hold up the start.
const firstToken = 2 * time.Second

// begin gets a token before there is work: so wrong credentials are told at
// once, and the first calls go when they are granted. Calls that are held for
// wrong settings are tried at once, since this worker may have the right ones.
func (c *chatAPI) begin(ctx context.Context, g *gate.Gate) {
	wait, cancel := context.WithTimeout(ctx, firstToken)
	defer cancel()
	if _, err := c.tokens.Token(wait); err != nil && ctx.Err() == nil {
		c.log.Warn("there is no token for the Chat API yet", "error", err)
		var e *apiclient.Error
		if errors.As(err, &e) && e.Kind == apiclient.KindUnauthorized {
			return // a call could do no better
		}
	}
	for _, t := range apiclient.TargetTypes() {
		held, err := g.Retry(ctx, string(t), gate.ReasonUnauthorized, gate.ReasonUnknownApp)
		switch {
		case err != nil && ctx.Err() == nil:
			c.log.Warn("held calls wait for their next probe", "target_type", t, "error", err)
		case held:
			c.log.Info("calls are held for wrong settings, and one is tried now", "target_type", t)
		}
	}
}
