"""The audience of a creator."""

from __future__ import annotations

from services.demo.dataset.banks import lines
from services.demo.dataset.speech.voice import Voice

FAN = Voice(
    open_pos=lines("""
        Okay wow.
        Been waiting for this one.
        Watched this twice already.
        Sent this to {who} straight away.
        Not me watching this at 2am.
        Came here from your last post.
        Long-time lurker, first comment.
        So underrated.
        Finally someone said it.
        This popped up at the perfect moment.
        Instant save.
        Stopped scrolling for this.
        Happy {day} to me.
        Best thing in my feed today.
        You never miss.
        Quality as always.
        Didn't expect to love this so much.
        Here before this blows up.
        Watching from {land}.
        How do you only have this many followers?
        I needed this today.
        Just found your page.
    """),
    open_neg=lines("""
        Hmm.
        Sorry but no.
        I usually love your stuff, but not this time.
        Long-time follower, a bit disappointed.
        Unpopular opinion maybe.
        Some honest feedback.
        I really wanted to like this.
        Not your best one.
        I'll say what others are thinking.
        Can't agree here.
        Meh.
    """),
    close_pos=lines("""
        Thank you!
        More of this please.
        Subscribed.
        Saving this for later.
        Keep it up!
        Can't wait for the next one.
        You deserve way more views.
        Respect.
        Please make this a series.
        Greetings from {land}!
        {who_cap} says hi.
        Made my {day}.
        Take all my likes.
        Already looking forward to part two.
        Never change.
        Sharing this with {who}.
        Big fan.
        10/10.
        See you next week!
    """),
    close_neg=lines("""
        Please do better next time.
        I expected more.
        Unfollowing for a bit.
        Just my two cents.
        Skipped to the end.
        Not for me.
        Hope you fix it.
        Back to your older posts I go.
        Wouldn't recommend it.
        No hate, just feedback.
        That's {span} of waiting for nothing.
        Bit of a waste of time.
    """),
    aspect_pos=lines("""
        is so good
        is exactly what I needed
        is so well done
        is my favourite part
        deserves way more attention
        is better than I expected
        is spot on
        won me over
        keeps getting better
        is next level
        surprised me in a good way
        is what makes this one special
        is why I keep coming back
        was worth the wait
        is chef's kiss
        got me hooked
    """),
    aspect_neg=lines("""
        is a letdown
        really needs work
        is worse than before
        did nothing for me
        feels like an afterthought
        was not what you promised
        put me off
        is the weak spot here
        ruined it for me
        just annoyed me
        makes no sense to me
        was disappointing
    """),
    aspect_mid=lines("""
        is fine I guess
        is about what I expected
        is hit or miss
        could go either way
        is a matter of taste
        is okay, nothing more
        is hard to judge from this
        matters less to me
        was new to me
        depends on who you ask
        is something I have to think about
    """),
    aspect_ask=lines("""
        can you say more about the {aspect}?
        did anyone else notice the {aspect}?
        could you do one just about the {aspect}?
        what would you change about the {aspect}?
        how important is the {aspect} to you?
        is the {aspect} a dealbreaker for anyone?
        where can I read more about the {aspect}?
    """),
    short_pos=lines("""
        Needed this today 🙏
        This!! 👏
        Love it ❤️
        So good
        Iconic
        Obsessed 😍
        Saved ✅
        Goals
        Gold.
        Pure quality 👌
        Yesss finally
        First! And it's a good one
        How is this free
        Brilliant as ever
        Perfection
        Day made ☀️
        Legend
        I felt this 😂
        Underrated 🔥
        The {ref} we needed
        Best {ref} of the week
        This {ref} though 😍
        Another great {ref}
        Can't stop thinking about the {name}
        {name}?? Yes please
        The {aspect} 😍
        The {aspect}!! 🔥
        That {aspect} though 👏
        Here for the {aspect} ❤️
        {aspect_cap} = perfection
    """),
)
