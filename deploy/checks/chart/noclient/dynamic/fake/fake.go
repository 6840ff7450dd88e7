// Package fake is named by the tests of Helm's engine, which are not run here.
package fake
