package redisconn_test

import (
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

// gauges are the metrics of a connection that have no labels.
func gauges(t *testing.T, conn *redisconn.Conn) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(conn.Metrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if gauge := f.GetMetric()[0].GetGauge(); gauge != nil {
			values[f.GetName()] = gauge.GetValue()
		}
	}
	return values
}

// Redis refuses everything then, a PING too, and only persistence_ok tells why.
func TestMetricsTellOfADiskThatTakesNothing(t *testing.T) {
	dir := t.TempDir()
	conn := open(t, redistest.StartReal(t, redistest.With("save", "3600", "1"), redistest.With("dir", dir)).URL)
	if got := gauges(t, conn); got["crier_redis_up"] != 1 || got["crier_redis_persistence_ok"] != 1 {
		t.Fatalf("a healthy Redis: %v", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := conn.Client.BgSave(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the snapshot fails", func() bool { return conn.Client.Ping(t.Context()).Err() != nil })
	got := gauges(t, conn)
	if ok, told := got["crier_redis_persistence_ok"]; got["crier_redis_up"] != 0 || !told || ok != 0 {
		t.Errorf("Redis cannot save: %v", got)
	}
}
