package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// TokenEndpoint is the name under which Observe is told of requests for a token.
const TokenEndpoint = "token"

// CredentialsConfig says where and with what to fetch tokens.
type CredentialsConfig struct {
	BaseURL, Org, App string // as in Config
	ClientID          string
	// Secret returns the client secret. It is asked anew for each fetch, so that
	// one that somebody has changed is found.
	Secret  func() (string, error)
	Timeout time.Duration // of one fetch
	// Observe is Config.Observe; it is told of TokenEndpoint.
	Observe func(endpoint string, status int, d time.Duration)
	// Store shares the token with other processes; nil = this one is alone.
	Store Store
}

// Validate returns all faults, each a FieldError named by the field.
func (c CredentialsConfig) Validate() error {
	_, faults := appURL(c.BaseURL, c.Org, c.App)
	if c.ClientID == "" {
		faults = append(faults, FieldError{"ClientID", "is required"})
	}
	if c.Secret == nil {
		faults = append(faults, FieldError{"Secret", "is required"})
	}
	if c.Timeout <= 0 {
		faults = append(faults, FieldError{"Timeout", "must be more than 0"})
	}
	return errors.Join(faults...)
}

// Longer lives of a token are cut to this; the vendor's is 60 days.
const maxLife = 10 * 365 * 24 * time.Hour

var errFromToken = errors.New("answered by the token endpoint")

// fetchToken asks the token endpoint once (CHAT-API: "Token").
func fetchToken(ctx context.Context, w *wire, url string, c CredentialsConfig) (Token, *Error) {
	secret, err := c.Secret()
	if err != nil {
		return Token{}, &Error{Kind: KindUnauthorized, Err: fmt.Errorf("reading the client secret: %w", err)}
	}
	body, err := json.Marshal(map[string]string{
		"grant_type": "client_credentials", "client_id": c.ClientID, "client_secret": secret,
	})
	if err != nil {
		return Token{}, &Error{Kind: KindUnauthorized, Err: err}
	}
	issued := time.Now()
	var answer bytes.Buffer
	status, e := w.post(ctx, post{endpoint: TokenEndpoint, url: url, body: body, secret: secret}, &answer)
	if e != nil {
		return Token{}, tokenError(e)
	}
	var said struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"` // seconds
	}
	// The body of a bad answer is not kept: there may be a token in it.
	if err := json.Unmarshal(answer.Bytes(), &said); err != nil {
		return Token{}, &Error{Kind: KindUnavailable, Status: status, Err: errors.New("the token endpoint's answer cannot be read")}
	}
	if !usable(said.AccessToken) {
		return Token{}, &Error{Kind: KindUnavailable, Status: status, Err: errBadToken}
	}
	t := Token{Value: said.AccessToken, Issued: issued}
	if seconds, err := said.ExpiresIn.Float64(); err == nil && seconds > 0 {
		t.Expires = issued.Add(time.Duration(min(seconds, maxLife.Seconds()) * float64(time.Second)))
	}
	return t, nil
}

// tokenError turns what a POST to the token endpoint met into what it means for
// the call that needs the token: that one was certainly not carried out.
func tokenError(e *Error) *Error {
	switch {
	case e.Kind == KindUnknownApp, e.Kind == KindPlan:
	case e.Kind == KindThrottled:
		e.Kind = KindNoToken
	case e.Status/100 == 4 && e.Kind != KindUnknown:
		e.Kind = KindUnauthorized
	default:
		e.Kind = KindUnavailable
	}
	e.Scope, e.Limit = "", 0
	if e.Err == nil {
		e.Err = errFromToken
	} else {
		e.Err = fmt.Errorf("fetching a token: %w", e.Err)
	}
	return e
}
