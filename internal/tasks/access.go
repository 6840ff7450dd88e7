package tasks

import (
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
)

// TokensConfig says where the tokens of an app come from.
type TokensConfig struct {
	// Fixed reads the one token that there is, where Credentials has no ClientID.
	Fixed func() (string, error)
	// Credentials are those with which tokens are fetched. They get the Store of
	// Namespace, and an Observe that logs failures, too.
	Credentials apiclient.CredentialsConfig
	Redis       redis.UniversalClient
	Namespace   string
}

// NewTokens returns the source of an app's tokens, which all processes of a
// namespace share, unless there is one fixed token.
func NewTokens(c TokensConfig, log *slog.Logger) (apiclient.TokenSource, error) {
	if c.Credentials.ClientID == "" {
		return apiclient.ReadToken(c.Fixed), nil
	}
	credentials, observe := c.Credentials, c.Credentials.Observe
	credentials.Observe = func(endpoint string, status int, took time.Duration) {
		if observe != nil {
			observe(endpoint, status, took)
		}
		if status/100 != 2 { // nobody else may notice while the old token serves
			log.Warn("the token endpoint gave no token", "status", status)
		}
	}
	credentials.Store = NewTokenStore(c.Redis, TokenStoreConfig{
		Namespace: c.Namespace, App: credentials.Org + "/" + credentials.App, ClientID: credentials.ClientID, Secret: credentials.Secret,
	}, log)
	return apiclient.ClientCredentials(credentials)
}
