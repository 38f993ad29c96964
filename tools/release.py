#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""release.py FOLDER - the library in two files, FOLDER/attngrad.h and FOLDER/attngrad.c, for `make release`.

attngrad.h is all public headers, each once. attngrad.c is all sources, and every other header where it is first
included. Two files of the tree are compiled several times: kernels.c for each instruction set, kernels.inc in it for
each real type. Here attngrad.c includes itself for them, with a macro that selects the part. GCC and clang are told
by pragma for which instruction set they compile; other compilers make the kernels that every machine runs.
"""
import pathlib
import re
import sys

PARTS = ['tensor', 'autograd', 'nn']
KERNELS = 'tensor/kernels/kernels.c'
TEMPLATES = 'tensor/kernels/kernels.inc'
POSIX = 'tensor/files/replace.c'  # asks for it before its first header: here before any header of the system
INCLUDE = re.compile(r'^#include "([^"]+)"')

LEVELS = '''
/* The kernels of one instruction set each. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(AG_HAVE_X86_64_LEVELS)
#define AG_HAVE_X86_64_LEVELS
#endif
'''

V3 = 'avx2,fma,bmi,bmi2,f16c,lzcnt,movbe'
V4 = V3 + ',avx512f,avx512bw,avx512cd,avx512dq,avx512vl'


def instance(isa, name, define):
    """attngrad.c once more, as the kernels of one instruction set."""
    return f'''#define AG_ISA {isa}
#define AG_ISA_NAME "{name}"
{define}
#include "attngrad.c"
#undef AG_ISA
#undef AG_ISA_NAME'''


def targeted(isa, name, define, features, clang, gcc):
    """The same for a level of x86-64; clang's and gcc's ways to have wide registers used are the last arguments."""
    push = '#pragma clang attribute push(__attribute__((%s)), apply_to = function)'
    clang_push = '\n'.join(push % attribute for attribute in [f'target("{features}")'] + clang)
    clang_pop = '\n'.join(['#pragma clang attribute pop'] * (1 + len(clang)))
    return f'''#if defined(__clang__)
{clang_push}
#else
#pragma GCC push_options
#pragma GCC target("{features}{gcc}")
#endif
{instance(isa, name, define)}
#if defined(__clang__)
{clang_pop}
#else
#pragma GCC pop_options
#endif'''


def instances():
    return f'''
#define AG_RELEASE_KERNELS
{instance('baseline', 'baseline', '')}
{instance('reference', 'reference', '#define AG_REFERENCE')}
#undef AG_REFERENCE
#ifdef AG_HAVE_X86_64_LEVELS
{targeted('v3', 'x86-64-v3', '#define AG_RELEASE_AVX2', V3, [], '')}
{targeted('v4', 'x86-64-v4', '#define AG_RELEASE_AVX512F', V4, ['min_vector_width(512)'],
          ',prefer-vector-width=512')}
#endif
#undef AG_RELEASE_KERNELS
'''


def fail(text):
    sys.exit(f'release.py: {text}')


def text_of(path):
    if not pathlib.Path(path).is_file():
        fail(f'{path} is not there; run in the project\'s root')
    return pathlib.Path(path).read_text()


def lines_of(path, seen):
    """The file's lines. What it includes stands in place of the include line: a header once, as `seen` remembers."""
    result = []
    for line in text_of(path).replace('/* SPDX-License-Identifier: MIT\n *\n *', '/*').splitlines():
        found = INCLUDE.match(line)
        if not found:
            result.append(line)
        elif found[1] == TEMPLATES and path == KERNELS:
            result += ['#define AG_RELEASE_TEMPLATES', '#include "attngrad.c"', '#undef AG_RELEASE_TEMPLATES']
        elif not found[1].endswith('.h'):
            result += lines_of(found[1], seen)
        elif found[1] not in seen:
            seen.add(found[1])
            result += lines_of(found[1], seen)
    return result


def source_of(path, seen):
    """A source file's lines, and #undef for the macros that it leaves defined."""
    own = text_of(path)
    macros = [m for m in dict.fromkeys(re.findall(r'^#define (\w+)', own, re.M))
              if not re.search(rf'^#undef {m}\b', own, re.M) and not m.startswith('_')]
    return ['', f'/* ==== {path} ==== */'] + lines_of(path, seen) + [f'#undef {m}' for m in macros]


def once_per_table(text):
    """The names at file scope of the kernels that are not instances of FN, and their macros: one per kernel table."""
    names = re.findall(r'^(?:static|AG_ALWAYS_INLINE)[^;{=()]*?\b(\w+)\((?!\w+\)\()', text, re.M)
    names += re.findall(r'^typedef struct (\w+) \{', text, re.M)
    for constants in re.findall(r'^enum \{([^}]*)\}', text, re.M):
        names += re.findall(r'(?:^|,)\s*(\w+)\b(?!\()', re.sub(r'/\*.*?\*/', '', constants, flags=re.S))
    macros = [m for m in re.findall(r'^#define (\w+)', text, re.M)
              if not re.search(rf'^#undef {m}\b', text, re.M)]
    return sorted(set(names) - {'FN'}), sorted(set(macros))


def main():
    if len(sys.argv) != 2:
        fail('usage: release.py FOLDER')
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    version = '.'.join(re.findall(r'#define AG_VERSION_\w+ (\d+)', text_of('tensor/tensor.h')))
    licence = '\n'.join(f' * {line}'.rstrip() for line in text_of('LICENSE').strip().splitlines())

    def write(name, what, lines):
        opening = f'/* {what} of attngrad {version}, made by tools/release.py from the sources.\n *\n{licence}\n */\n'
        (folder / name).write_text(opening + '\n'.join(lines) + '\n')

    seen = {'attngrad.h'}
    write('attngrad.h', 'The public headers', lines_of('attngrad.h', seen))
    posix = re.search(r'^ \*/\n(#if .*?)\n\n', text_of(POSIX), re.M | re.S)[1].splitlines()
    library = ['#else'] + posix + ['#include "attngrad.h"', LEVELS]
    for path in (str(p) for part in PARTS for p in sorted(pathlib.Path(part).rglob('*.c'))):
        if path != KERNELS:
            library += source_of(path, seen)
    kernels = lines_of(KERNELS, seen)
    templates = [re.sub(r'defined\(__(AVX\w+)__\)', r'(defined(__\1__) || defined(AG_RELEASE_\1))', line)
                 for line in lines_of(TEMPLATES, seen)]
    names, macros = once_per_table('\n'.join(kernels + templates))
    write('attngrad.c', 'The sources',
          ['#if defined(AG_RELEASE_TEMPLATES)'] + templates + ['#elif defined(AG_RELEASE_KERNELS)'] +
          [f'#define {n} AG_JOIN2({n}, AG_ISA)' for n in names] + kernels + [f'#undef {n}' for n in names + macros] +
          library + [instances(), '#endif'])


main()
