# shellcheck shell=bash
# Completion of proofproxy's command line in bash: commands, options, environments, fingerprints.

_proofproxy_environments() { # CONFIG
    proofproxy ${1:+-c "$1"} config --json 2>/dev/null |
        sed -n '/^  "environments": {/,/^  }/s/^    "\([^"]*\)": {$/\1/p'
}

_proofproxy_fingerprints() { # CONFIG ENVIRONMENT
    proofproxy ${1:+-c "$1"} token list "$2" 2>/dev/null | grep -oE '\b[0-9a-f]{12}\b' | sort -u
}

_proofproxy() {
    local current previous word config='' command='' sub='' environment='' i
    current=${COMP_WORDS[COMP_CWORD]}
    previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        -c | --config)
            i=$((i + 1))
            config=${COMP_WORDS[i]}
            ;;
        --max | --admin | --expires) i=$((i + 1)) ;;
        -*) ;;
        *)
            if [ -z "$command" ]; then
                command=$word
            elif [ "$command" = token ] && [ -z "$sub" ]; then
                sub=$word
            elif [ -z "$environment" ]; then
                environment=$word
            fi
            ;;
        esac
    done

    case $previous in
    -c | --config)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
        return
        ;;
    --admin)
        mapfile -t COMPREPLY < <(compgen -W 'unix: 127.0.0.1:' -- "$current")
        compopt -o nospace 2>/dev/null
        return
        ;;
    --expires) return ;;
    --max)
        mapfile -t COMPREPLY < <(compgen -W '5s 30s 1m 5m' -- "$current")
        return
        ;;
    esac

    local offer=''
    case $command:$sub in
    :) offer='run check config status doctor token reload wait -c --config -V --version -h --help' ;;
    check:) offer='--json' ;;
    config:) offer='--json --keys' ;;
    status: | reload:) offer='--json --admin' ;;
    doctor:)
        offer='--json --admin'
        [ -n "$environment" ] || offer="$offer $(_proofproxy_environments "$config")"
        ;;
    token:) offer='list add retire' ;;
    token:list)
        offer='--json --admin'
        [ -n "$environment" ] || offer="$offer $(_proofproxy_environments "$config")"
        ;;
    token:add)
        offer='--force --expires'
        [ -n "$environment" ] || offer="$offer $(_proofproxy_environments "$config")"
        ;;
    token:retire)
        if [ -n "$environment" ]; then
            offer="--force $(_proofproxy_fingerprints "$config" "$environment")"
        else
            offer="--force $(_proofproxy_environments "$config")"
        fi
        ;;
    wait:) offer='--max --admin' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$offer" -- "$current")
}
complete -F _proofproxy proofproxy
