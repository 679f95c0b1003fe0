package image

import "runtime/debug"

// CheckInfo opens the check of build information to its table.
func CheckInfo(info *debug.BuildInfo) error { return checkInfo(info) }
