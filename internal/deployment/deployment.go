// Package deployment reads cloister.yaml, the file in which an operator says
// what a deployment is, and makes the measured bundle of it. It trusts the
// files as much as the operator does, and is strict all the same: what it
// doesn't know is an error with line and column, because a slip here is
// measured, signed off and served.
package deployment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	// FileName is the file that Read reads in a deployment's directory.
	FileName = "cloister.yaml"
	// Version is the version of the file that this code reads.
	Version = 1
	// MaxFile is the largest cloister.yaml and the largest file with TLS roots,
	// in bytes.
	MaxFile = 1 << 20
)

// Config is cloister.yaml with the contracts that it names, read and checked.
// What the file leaves out is for Facts to say.
type Config struct {
	// Deployment is the deployment's id, [a-z0-9-]{1,63}.
	Deployment string
	// Profile is bundle.Production or bundle.Simulation.
	Profile string
	// Datasets are the datasets in the order of the file, at least one.
	Datasets []Dataset
	// Producers are those that the file names; nil when it names none, and
	// empty when it says that there are none.
	Producers []bundle.Producer
	// Issuers are those that the file names, as with Producers.
	Issuers []bundle.Issuer
	// KMS is what the file says of keys.
	KMS KMS
	// Limits bound single requests; what the file leaves out has the value of
	// bundle.DefaultLimits.
	Limits bundle.Limits
}

// Dataset is one dataset of a deployment.
type Dataset struct {
	// Contract is the dataset's contract; it names the dataset.
	Contract *contract.Contract
	// KeyEpoch is the epoch of the dataset's keys, 1 when the file names none.
	KeyEpoch uint64
}

// KMS is what cloister.yaml says of keys. Each may be empty.
type KMS struct {
	// Region is the AWS region of every key.
	Region string
	// StateKey is the ARN of the state KEK.
	StateKey string
	// Keys are the ARNs of the datasets' KEKs, by the dataset's name.
	Keys map[string]string
}

// Read reads cloister.yaml in a directory and the files that it names. Its
// error joins everything that is wrong, each as path:line:column: what is wrong
// and what to write instead.
func Read(dir string) (*Config, error) {
	path := filepath.Join(dir, FileName)
	b, err := readFile(path, MaxFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no such file; a deployment is a directory with a %s", path, FileName)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return parse(b, path, func(name string, limit int64) ([]byte, string, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		b, err := readFile(name, limit)
		return b, name, err
	})
}

// DatasetNames answers the names of the datasets in the order of the file.
func (c *Config) DatasetNames() []string {
	var names []string
	for _, d := range c.Datasets {
		names = append(names, d.Contract.Dataset)
	}
	return names
}

// readFile reads a regular file of at most limit bytes. Its errors leave the
// path to the caller.
func readFile(path string, limit int64) ([]byte, error) {
	// Opening a pipe would wait for a writer, so look first.
	info, err := os.Stat(path)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, cause(err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return b, nil
}

// cause drops the operation and the path of an error of package os.
func cause(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}
