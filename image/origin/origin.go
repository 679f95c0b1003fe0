// Package origin says which state of the repository an image is made from: the
// commit, whether files differ from it, and the date that goes into what is
// built. It asks git, and trusts it.
package origin

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/image/reference"
)

// maxEpoch is the last second of the year 9999, the last that RFC 3339 writes.
const maxEpoch = 253402300799

// Of answers the state of the repository that a directory is in. epoch is the
// value of SOURCE_DATE_EPOCH (reproducible-builds.org, its specification); when
// it is empty the date is that of the commit, and 1970 outside of a repository.
// Ignored files don't count as a difference.
func Of(ctx context.Context, dir, epoch string) (reference.Source, error) {
	s := reference.Source{Commit: reference.Unknown, Date: time.Unix(0, 0).UTC()}
	if commit, err := git(ctx, dir, "rev-parse", "--verify", "HEAD"); err == nil {
		status, err := git(ctx, dir, "status", "--porcelain")
		if err != nil {
			return s, err
		}
		s.Commit, s.Modified = commit, status != ""
		if epoch == "" {
			if epoch, err = git(ctx, dir, "log", "-1", "--format=%ct"); err != nil {
				return s, err
			}
		}
	}
	if epoch == "" {
		return s, nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 || seconds > maxEpoch {
		return s, errors.New("origin: SOURCE_DATE_EPOCH isn't a number of seconds since 1970")
	}
	s.Date = time.Unix(seconds, 0).UTC()
	return s, nil
}

// git answers what git prints, without the newline.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("origin: git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
