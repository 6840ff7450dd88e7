package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Longer lives of a token are cut to this; the vendor's is 60 days.
const maxLife = 10 * 365 * 24 * time.Hour

var errFromToken = errors.New("answered by the token endpoint")

// fetchToken asks the token endpoint once (CHAT-API: "Token").
func fetchToken(ctx context.Context, w *wire, url string, c CredentialsConfig) (Token, *Error) {
	body, err := json.Marshal(map[string]string{
		"grant_type": "client_credentials", "client_id": c.ClientID, "client_secret": c.ClientSecret,
	})
	if err != nil {
		return Token{}, &Error{Kind: KindUnauthorized, Err: err}
	}
	issued := time.Now()
	var answer bytes.Buffer
	status, e := w.post(ctx, post{endpoint: "token", url: url, body: body, secret: c.ClientSecret}, &answer)
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
	refused := e.Status/100 == 4 && e.Kind != KindThrottled && e.Kind != KindPlan && e.Kind != KindUnknown
	switch {
	case e.Kind == KindUnknownApp:
	case refused:
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
