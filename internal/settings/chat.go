package settings

import (
	"errors"
	"os"
	"strings"
	"time"
)

// Chat are the settings that say where the Chat API is and who we are to it.
type Chat struct {
	ChatURL              string `name:"chat-url" env:"CHAT_URL" default:"https://a1.easecdn.com" help:"Base URL of the Chat API."`
	ChatOrg              string `name:"chat-org" env:"CHAT_ORG" help:"Path part {org_name}; required."`
	ChatApp              string `name:"chat-app" env:"CHAT_APP" help:"Path part {app_name}; required."`
	ChatToken            string `name:"chat-token" env:"CHAT_TOKEN" help:"Fixed bearer token; or set a client id and secret."`
	ChatTokenFile        string `name:"chat-token-file" env:"CHAT_TOKEN_FILE" help:"File that holds CHAT_TOKEN; read again when the token is refused."`
	ChatClientID         string `name:"chat-client-id" env:"CHAT_CLIENT_ID" help:"Client id with which tokens are fetched and renewed."`
	ChatClientSecret     string `name:"chat-client-secret" env:"CHAT_CLIENT_SECRET" help:"Client secret that goes with it."`
	ChatClientSecretFile string `name:"chat-client-secret-file" env:"CHAT_CLIENT_SECRET_FILE" help:"File that holds CHAT_CLIENT_SECRET; read again for each token."`
	ChatTimeout          string `name:"chat-timeout" env:"CHAT_TIMEOUT" default:"15s" help:"Time of one call."`
}

// ChatAccess is what Chat says, as values.
type ChatAccess struct {
	BaseURL, Org, App string
	ClientID          string // "" = the token is fixed
	Token, Secret     Secret // the fixed token, and the client secret
	Timeout           time.Duration
}

// Secret returns a secret as it is now: a file may be given another content
// while the program runs, as Kubernetes does with its secrets.
type Secret func() (string, error)

// secretIn returns the secret in a file, or without one this value.
func secretIn(file, value string) Secret {
	if file == "" {
		return func() (string, error) { return value, nil }
	}
	return func() (string, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if value := strings.TrimRight(string(text), "\r\n"); value != "" {
			return value, nil
		}
		return "", errors.New(file + " is empty")
	}
}

// ReadChat returns the values of the settings. check says what is wrong with
// the base URL, the organisation and the app, without showing a password.
func (c Chat) ReadChat(f *Faults, check func(base, org, app string) (ofBase, ofOrg, ofApp error)) ChatAccess {
	a := ChatAccess{
		BaseURL: strings.TrimRight(c.ChatURL, "/"), Org: c.ChatOrg, App: c.ChatApp, ClientID: c.ChatClientID,
		Timeout: f.Duration("CHAT_TIMEOUT", c.ChatTimeout, 10*time.Millisecond, time.Hour),
	}
	token := f.Secret("CHAT_TOKEN", c.ChatToken, "", c.ChatTokenFile)
	if bare := strings.TrimSpace(token); token != "" && (bare == "" || strings.ContainsFunc(bare, notInHeader)) {
		f.Add("CHAT_TOKEN", "must be printable ASCII without spaces: nothing else can be a bearer token")
	}
	a.Token = secretIn(c.ChatTokenFile, token)
	secret := f.Secret("CHAT_CLIENT_SECRET", c.ChatClientSecret, "", c.ChatClientSecretFile)
	if secret != "" && strings.TrimSpace(secret) == "" {
		f.Add("CHAT_CLIENT_SECRET", "is blank")
	}
	a.Secret = secretIn(c.ChatClientSecretFile, secret)
	switch hasToken, hasClient := c.ChatToken+c.ChatTokenFile != "", c.ChatClientID+c.ChatClientSecret+c.ChatClientSecretFile != ""; {
	case hasToken && hasClient:
		f.Add("CHAT_TOKEN", "is given together with CHAT_CLIENT_ID and CHAT_CLIENT_SECRET: one of the two")
	case hasClient:
		f.Required("CHAT_CLIENT_ID", c.ChatClientID)
		if c.ChatClientSecretFile == "" {
			f.Required("CHAT_CLIENT_SECRET", c.ChatClientSecret)
		}
	case !hasToken:
		f.Add("CHAT_TOKEN", "is required, or CHAT_CLIENT_ID and CHAT_CLIENT_SECRET")
	}
	ofBase, ofOrg, ofApp := check(a.BaseURL, a.Org, a.App)
	f.AddError("CHAT_URL", ofBase)
	f.AddError("CHAT_ORG", ofOrg)
	f.AddError("CHAT_APP", ofApp)
	return a
}

func notInHeader(r rune) bool { return r <= ' ' || r > '~' }
