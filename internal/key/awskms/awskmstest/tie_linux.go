// SPDX-License-Identifier: Apache-2.0

package awskmstest

import "syscall"

// tie has the kernel end a program when we end.
func tie(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
